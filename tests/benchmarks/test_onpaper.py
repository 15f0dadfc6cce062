"""What the compilers for GPUs print is read right, wherever the tests run."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HLO = """HloModule jit_step, is_scheduled=true

%fused_computation (param_0: f32[8,512,4], param_1: s32[]) -> f32[512,4] {
  %param_0 = f32[8,512,4]{2,1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %piece = f32[1,512,4]{2,1,0} dynamic-slice(%param_0, %param_1, %zero, %zero)
  ROOT %flat = f32[512,4]{1,0} bitcast(%piece)
}

%stack (param_0.1: pred[8,512], param_1.1: pred[512], param_2: s32[]) -> pred[8,512] {
  %param_0.1 = pred[8,512]{1,0} parameter(0)
  %param_1.1 = pred[512]{0} parameter(1)
  %param_2 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  %row = pred[1,512]{1,0} bitcast(%param_1.1)
  ROOT %put = pred[8,512]{1,0} dynamic-update-slice(%param_0.1, %row, %param_2, %zero.1)
}

%body (p: (s32[], f32[8,512,4], pred[8,512], pred[512])) -> (s32[], f32[512,4]) {
  %p = (s32[], f32[8,512,4], pred[8,512], pred[512]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %all = f32[8,512,4]{2,1,0} get-tuple-element(%p), index=1
  %masks = pred[8,512]{1,0} get-tuple-element(%p), index=2
  %mask = pred[512]{0} get-tuple-element(%p), index=3
  %slice_fusion = f32[512,4]{1,0} fusion(%all, %i), kind=kLoop, calls=%fused_computation
  %put_fusion = pred[8,512]{1,0} fusion(%masks, %mask, %i), kind=kLoop, calls=%stack
  ROOT %next = (s32[], f32[512,4]) tuple(%i, %slice_fusion)
}

ENTRY %main (x: f32[4,4], y: bf16[4,4]) -> f32[4,4] {
  %x = f32[4,4]{1,0} parameter(0)
  %y = bf16[4,4]{1,0} parameter(1)
  %square = f32[4,4]{1,0} multiply(%x, %x)
  %gemm.1 = (f32[4,4]{1,0}, s8[4194304]{0}) custom-call(%x, %y), custom_call_target="g"
  ROOT %while.5 = (s32[], f32[512,4]) while(%t), condition=%c, body=%body, \
backend_config={"known_trip_count":{"n":"8"}}
}
"""
SEQUENCE = """001: kCopy         [source       | next=002 (1) ] kCopy
002: kWhile        [prev=001 (1) | next=007 (1) ]   
condition:
    003: kCustomKernel [source | sink] compare_fusion grid: [1, 1, 1] \
threads: [1, 1, 1]  shared_memory: 0 bytes
  body:
    004: kCustomKernel [source | sink] slice_fusion grid: [32768, 1, 1] \
threads: [128, 1, 1]  shared_memory: 0 bytes
    005: kDynamicSliceFusion [prev=004 (2)  | sink ] params=2, results=2
        006: kCublasLtMatmul [source | sink] kCublasLtMatmul
007: kCublasLtMatmul [prev=002 (1) | sink] kCublasLtMatmul
"""  # noqa: W291
INSTRUCTIONS = {2: "while.5", 4: "slice_fusion", 5: "put_fusion", 7: "gemm.1"}
METADATA = "\n".join(
    f'thunk_metadata {{\n  thunk_info {{\n    profile_annotation: "{name}"\n'
    f"    thunk_id: {number}\n  }}\n}}"
    for number, name in {
        2: "while.5",
        4: "slice_fusion",
        5: "put_fusion",
        7: "gemm.1",
    }.items()
)
SASS = """
//--------------------- .text.slice_fusion  --------------------------
        .global         slice_fusion
.text.slice_fusion:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   IMAD.WIDE.U32 R4, R0, 0x4, R4 ;
        /*0020*/                   SHF.L.W.U32.HI R10, R11.reuse, 0xd, R11 ;
        /*0030*/               @P0 LOP3.LUT R8, R3, 0x1bd11bda, R2, 0x96, !PT ;
        /*0040*/                   FMUL R8, R3, R2 ;
        /*0050*/                   MUFU.LG2 R8, R3 ;
        /*0060*/              @!P1 BRA `(.L_x_1) ;
        /*0070*/                   EXIT ;
.L_x_2:
        /*0080*/                   BRA `(.L_x_2);
        /*0090*/                   NOP;
"""


@pytest.fixture(autouse=True)
def _programs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_traffic_of_a_slice_is_the_slices():
    from hlo import Module, size_of

    module = Module(HLO)
    assert size_of("(f32[2,3]{1,0}, bf16[4], pred[], s4[8])") == 24 + 8 + 1 + 4
    assert module.traffic("square") == (64, 64)
    assert module.traffic("slice_fusion") == (512 * 4 * 4 + 4, 512 * 4 * 4)
    assert module.traffic("put_fusion") == (512 + 4, 512)
    assert module.traffic("gemm.1") == (64 + 32, 64)
    assert module.results("gemm.1") == ["f32[4,4]"]
    assert module.results("put_fusion") == ["pred[8,512]"]
    assert (module.trips("while.5"), module.trips("square")) == (8, 1)
    assert "nothing" not in module
    assert [it.name for it in module.called("put_fusion")][-1] == "put"
    assert module.called("square") == []
    assert [it.shape for it in module.operands("gemm.1")] == [
        "f32[4,4]{1,0}",
        "bf16[4,4]{1,0}",
    ]
    assert {"square", "flat"} <= {it.name for it in module}


def test_launches_in_a_loop_count_with_its_rounds():
    from hlo import Module
    from onpaper.thunks import launches

    found = list(launches(SEQUENCE, METADATA, Module(HLO)))
    kinds = [(launch.kind, launch.times) for launch in found]
    product = "CublasLtMatmul"
    kernels = [("CustomKernel", 8)] * 2
    assert kinds == [("Copy", 1), *kernels, (product, 8), (product, 1)]
    assert found[2].kernel == found[2].instruction == "slice_fusion"
    assert found[2].threads == 32768 * 128
    assert [launch.instruction for launch in found[3:]] == ["put_fusion", "gemm.1"]


def test_instructions_occupy_their_pipes():
    from onpaper import sass

    ((name, code),) = sass.kernels(SASS).items()
    assert (name, code.loops, code.instructions) == ("slice_fusion", True, 8)
    assert code.cycles() == {"issue": 8, "integers": 4, "floats": 4, "special": 8}
    straight = SASS.replace("@!P1 BRA `(.L_x_1)", "NOP")
    assert not sass.kernels(straight)["slice_fusion"].loops


def test_a_row_that_is_worse_than_it_should_be_is_told():
    from onpaper import bars

    plain = {"launches": 1, "scratch": 1000, "stored": []}
    good = {**plain, "elements": 2**20}
    assert not list(bars.of_method(bars.OWN, good, plain))
    stored = {**good, "scratch": 2**16 + 1, "stored": ["pred[1024,1024]"]}
    assert len(list(bars.of_method(bars.OWN, stored, plain))) == 2
    assert not list(bars.of_method(bars.SHARED, {**stored, "launches": 2}, plain))
    assert list(bars.of_method(bars.SHARED, {**good, "launches": 3}, plain))
    assert not list(bars.of_step({**plain, "scratch": 1009}, plain, plain))
    assert len(list(bars.of_step({"launches": 4, "scratch": 1011}, plain, plain))) == 2
    assert list(bars.of_examples({"launches": 7, "scratch": 0}, passes=1))
    assert not list(bars.of_examples({"launches": 7, "scratch": 0}, passes=2))


def test_a_process_that_ends_is_started_again(tmp_path):
    from onpaper.apart import Apart

    assert Apart()(_end_once, tmp_path / "ended") == "done"


def _end_once(path):
    if not path.exists():
        path.touch()
        os._exit(139)
    return "done"
