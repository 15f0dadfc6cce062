"""The methods as pure functions, grouped in chapters: one method, one file, one paper.

`activations` has the methods for any array of activations, `maps` those for feature
maps and images, `branches` those for residual branches and whole layers, `sequences`
those for tokens, attention and recurrent states, `subsets` those that leave examples,
tokens or units out of a computation, and `weights` those for the weights of a layer.
All of them are also exported by `dropjax` itself.
"""
