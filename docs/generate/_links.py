"""Names of functions in sentences, such as `dropout`, link to the reference."""

from typing import Any

from docutils import nodes
from sphinx import addnodes

from ._docstrings import full_name

# Where a link would be inside of a link, or distract.
NOT_IN = (nodes.reference, addnodes.pending_xref, nodes.title, addnodes.desc_signature)


def link_names(app: Any, doctree: nodes.document) -> None:
    """Sphinx's event `doctree-read`."""
    for code in list(doctree.findall(nodes.literal)):
        target = full_name(code.astext())
        if target and not is_inside(code, NOT_IN):
            link = addnodes.pending_xref(
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refexplicit=True,
                refwarn=True,
                refdoc=app.env.docname,
            )
            code.replace_self(link)
            link += code


def is_inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    """Whether a node has an ancestor of one of the kinds."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False
