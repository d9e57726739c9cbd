from node_agent.runtimes.kinds.adapter import Gauges
from node_agent.runtimes.kinds.external import External
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from node_agent.runtimes.kinds.prometheus import gauges_of, samples
from node_agent.runtimes.kinds.vllm import Vllm

LLAMA = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
llamacpp:tokens_predicted_total 34
llamacpp:requests_processing 1
llamacpp:requests_deferred 2
"""
VLLM = """\
vllm:num_requests_running{engine="0",model_name="a \\"b\\" {c}"} 1.0
vllm:num_requests_running{engine="1",model_name="a"} 2.0
vllm:generation_tokens_total{engine="0"} 7.0 1700000000000
vllm:gpu_cache_usage_perc{engine="0"} 0.25
"""


def test_counts_get_one_name_whatever_the_engine_calls_them() -> None:
    assert gauges_of(LLAMA, LlamaCpp.counts) == Gauges(1, 2, 12, 34, None)
    assert gauges_of(VLLM, Vllm.counts) == Gauges(3, None, None, 7, 0.25)


def test_what_runs_already_is_read_whichever_it_is() -> None:
    assert gauges_of(LLAMA, External.counts) == gauges_of(LLAMA, LlamaCpp.counts)
    assert gauges_of(VLLM, External.counts) == gauges_of(VLLM, Vllm.counts)


def test_the_newer_of_two_names_counts() -> None:
    both = "vllm:gpu_cache_usage_perc 0.1\nvllm:kv_cache_usage_perc 0.2\n"
    assert gauges_of(both, Vllm.counts).cache_used_ratio == 0.2


def test_what_is_no_number_is_left_out() -> None:
    assert samples("a NaN\nb +Inf\nc\nd x\n<html>\ne 1e3") == {"e": 1000.0}
