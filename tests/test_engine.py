"""Compiled, captured and low-precision updates give what plain ones give, or say why they cannot be had."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from batches import ACTIONS, BOTH, ONLY_PIXELS, ONLY_STATE, make_batch, make_observation
from zoomrl.agents import engine
from zoomrl.agents.act.config import ACTConfig
from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.build import assemble
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig, ProposalConfig
from zoomrl.agents.cqn.learner import CQN
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config
from zoomrl.agents.engine import WARM_UP, Captured, accelerate, capture, unavailable
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.td3.config import IQRLConfig, TD3Config
from zoomrl.agents.td7.config import TD7Config
from zoomrl.errors import ConfigError
from zoomrl.nets.config import EncoderConfig, RepresentationConfig

TINY = {"hidden_dim": 10, "trunk_dim": 4, "lr": 1e-3}
ENCODER = EncoderConfig(kind="drqv2", norm="none", activation="relu", channels=3, feature_dim=5, shift=2)
LATENT = RepresentationConfig(
    kind="self_predictive", dim=12, encoder_hidden=(8,), model_hidden=(10, 10), horizon=2, lr=1e-3
)
NOISE = 0.2

# Dimensions, steps and levels are unrolled where a step is compiled: few of them keep these tests short.
CASES = {
    "cqn_as, state": (CQNASConfig(**TINY, atoms=11, chunk_length=2, levels=2), ONLY_STATE),
    "cqn_as, proposals, prefixes": (
        CQNASConfig(
            **TINY,
            atoms=11,
            chunk_length=2,
            levels=2,
            prefix_targets=True,
            proposals=ProposalConfig(count=2, target_count=2, steps=2, hidden=(6,)),
        ),
        ONLY_STATE,
    ),
    "drqv2, pixels": (DrQv2Config(**TINY, encoder=ENCODER), ONLY_PIXELS),
    "td3, state": (TD3Config(hidden=(10, 10)), ONLY_STATE),
    "iqrl, state": (IQRLConfig(hidden=(10, 10), representation=LATENT, critics=3), ONLY_STATE),
    "sac, state": (SACConfig(hidden=(10, 10)), ONLY_STATE),
    "td7, state": (TD7Config(hidden_dim=10, embedding_dim=8, target_interval=2, bc_lambda=0.3), ONLY_STATE),
    "taco, pixels": (TACOConfig(**TINY, encoder=ENCODER, sequence=2), ONLY_PIXELS),
    "tcrl, state": (TCRLConfig(hidden_dim=10, representation=LATENT, lr=1e-3), ONLY_STATE),
    "bc, pixels": (BCConfig(hidden=(10, 10), chunk_length=2, encoder=ENCODER, lr=1e-3), ONLY_PIXELS),
    "act, both": (
        ACTConfig(
            chunk_length=2,
            encoder=dataclasses.replace(ENCODER, feature_dim=64),  # it has no image trunk
            dim=8,
            heads=2,
            feedforward=8,
            style_dim=2,
            encoder_layers=1,
            decoder_layers=1,
            lr=1e-3,
        ),
        BOTH,
    ),
    "drqv2_as, state": (DrQv2ASConfig(**TINY, atoms=11, chunk_length=2, target_interval=2), ONLY_STATE),
}
DIFFERENTIATED = ("cqn_as, state", "drqv2, pixels", "td7, state", "bc, pixels")
"""Cases whose compiled graphs are differentiated in every run of the suite; those of the others are traced."""
CAPTURED = ("cqn_as, state", "td7, state")
"""Cases that are compiled and captured in every run of the suite; both by itself is tested of all."""
REAL_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def test_there_is_a_case_for_every_kind_of_agent():
    classes = {type(make(config, shape)) for config, shape in CASES.values()}
    assert {kind.__name__ for kind in classes} == {kind.learner.partition(":")[2] for kind in AGENT_CONFIGS.values()}


def make(config, shape, device="cpu"):
    agent = assemble(config, shape, ACTIONS, 3, device=torch.device(device))
    if isinstance(agent, CQN):
        # Heads away from zero, so that no bins are tied and every path carries a gradient.
        g = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for critic in (agent.critic, agent.target_critic):
                weight = critic.advantage.weight
                weight.copy_(torch.randn(weight.shape, generator=g) * 0.3)
    return agent


def batch_for(agent, shape, **options):
    return make_batch(shape, agent.chunk_length, sequence_length=agent.sequence_length, **options)


def weights(agent):
    modules = [part for part in agent.parts.values() if isinstance(part, torch.nn.Module)]
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()])


def same_state(one, two):
    one, two = one.state_dict(), two.state_dict()
    torch.testing.assert_close(one, two, rtol=0, atol=0)


# Compiled.


@pytest.fixture
def quick_compile(monkeypatch):
    """Traces and differentiates as ever, and runs the result without a compiler; refuses a broken graph.

    Gives the names of what was handed to the compiler, and the graphs that it made of these. With ``differentiated``
    off it only traces, in half the time."""
    real, compiled = torch.compile, SimpleNamespace(names=[], graphs=[], differentiated=True)

    def run(graph, inputs):
        compiled.graphs.append(graph)
        return aot_eager(graph, inputs) if compiled.differentiated else graph.forward

    def quick(function, **options):
        compiled.names.append(function.__name__)
        assert options == {"dynamic": False, "fullgraph": True}
        return real(function, backend=run, **options)

    aot_eager = torch._dynamo.lookup_backend("aot_eager")
    monkeypatch.setattr(torch, "compile", quick)
    torch._dynamo.reset()
    yield compiled
    torch._dynamo.reset()


def compare_over_updates(fast, plain, config, shape, updates, tolerance):
    start, kinds = weights(plain), getattr(config, "policy_delay", 1)
    for step in range(updates):
        batch = batch_for(plain, shape, seed=step)
        noise = NOISE / (step + 1)
        expected = plain.update(batch, noise)
        # Neither noise nor another batch of the same size may start the compiler again.
        with torch._dynamo.config.patch(error_on_recompile=step >= kinds):
            metrics = fast.update(batch, noise)
        assert metrics.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(metrics[name], expected[name], rtol=tolerance, atol=tolerance)
    moved = (weights(plain) - start).norm()
    assert (weights(fast) - weights(plain)).norm() < 0.02 * moved


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, marks=pytest.mark.slow)
        if c
        in (
            "iqrl, state",
            "taco, pixels",
            "tcrl, state",
            "td7, state",
            "drqv2, pixels",
            "act, both",
            "bc, pixels",
            "drqv2_as, state",
        )
        else c
        for c in CASES
    ],
)
@pytest.mark.long
def test_compiled_equals_eager_in_one_graph(case, quick_compile):
    config, shape = CASES[case]
    # Of the others, graphs are differentiated in the slow tests below.
    quick_compile.differentiated = case in DIFFERENTIATED
    fast = make(config, shape)
    names = [getattr(owner, name).__name__ for owner, name in fast.pieces()]
    accelerate(fast, "compile")
    assert quick_compile.names == names != []
    compare_over_updates(fast, make(config, shape), config, shape, 5, 1e-4)


@pytest.mark.parametrize(
    ("kind", "chunk_length", "graphs"),
    [
        (CQNASConfig, 2, 6),
        pytest.param(CQNASConfig, 6, 9, marks=pytest.mark.slow),
        pytest.param(DrQv2ASConfig, 2, 7, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_what_repeats_is_compiled_once(kind, chunk_length, graphs, quick_compile):
    """However many views, levels and action dimensions there are: two graphs of the encoder, with and without
    gradient; three of CQN-AS's streams, one of its imitation terms; five of DrQ-v2-AS's recurrent bodies. And however
    many steps: of more than four, three graphs of one step."""
    encoder = dataclasses.replace(ENCODER, kind="strided", share_views=False)
    levels = {"levels": 3} if kind is CQNASConfig else {}
    config = kind(**TINY, atoms=11, chunk_length=chunk_length, encoder=encoder, **levels)
    fast = make(config, BOTH)
    assert len(fast.perception.encoder.nets) == 2
    accelerate(fast, "compile")
    compare_over_updates(fast, make(config, BOTH), config, BOTH, 2, 1e-4)
    assert len(quick_compile.graphs) == graphs


def test_many_agents_of_one_process_are_compiled(quick_compile):
    """Networks of other sizes share their code, of which the compiler makes eight versions by default."""
    quick_compile.differentiated = False
    for extra in range(9):
        agent = make(TD3Config(hidden=(10 + extra, 10)), ONLY_STATE)
        accelerate(agent, "compile")
        agent.update(make_batch(ONLY_STATE, 1))
        assert len(quick_compile.graphs) == extra + 1


def test_acting_is_not_compiled(quick_compile):
    """It has other batch sizes, a few rows at a time."""
    config, shape = CASES["cqn_as, state"]
    fast, plain = make(config, shape), make(config, shape)
    accelerate(fast, "compile")
    observation = make_observation(shape, 4, torch.Generator().manual_seed(0))
    plans = [agent.act(observation, torch.Generator().manual_seed(0)) for agent in (fast, plain)]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert not quick_compile.graphs


@pytest.mark.slow
def test_low_precision_compiles_in_one_graph(quick_compile):
    config = CQNConfig(**TINY, atoms=11, levels=1)
    fast, plain = make(config, ONLY_STATE), make(config, ONLY_STATE)
    accelerate(fast, "compile", "bf16")
    accelerate(plain, "eager", "bf16")
    batch = make_batch(ONLY_STATE, 1)
    torch.testing.assert_close(fast.update(batch)["loss"], plain.update(batch)["loss"], rtol=1e-3, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["cqn_as, both", "drqv2_as, both"])
def test_the_real_compiler_equals_eager(case):
    strided = dataclasses.replace(ENCODER, kind="strided", norm="layer")
    options = {**TINY, "atoms": 11, "chunk_length": 2, "encoder": strided}
    config = CQNASConfig(**options, levels=2) if case == "cqn_as, both" else DrQv2ASConfig(**options)
    fast = make(config, BOTH)
    torch._dynamo.reset()
    accelerate(fast, "compile")
    compare_over_updates(fast, make(config, BOTH), config, BOTH, 5, 1e-3)


# Captured.


class Again:
    """Stands in for CUDA graphs: a replay does the work again, on the inputs and into the results of the capture."""

    def __init__(self):
        self.warm_ups = self.captures = self.replays = 0

    def warm_up(self, work):
        self.warm_ups += 1
        return work()

    def reset_capture(self):
        pass

    def capture(self, work):
        self.captures += 1
        results = {}

        def replay():
            self.replays += 1
            for name, value in work().items():
                results.setdefault(name, torch.empty_like(value)).copy_(value)

        return replay, results


def captured(config, shape):
    agent, capturer = make(config, shape), Again()
    agent.run_step = Captured(agent.step, capturer, lambda: agent.phase)
    return agent, capturer


@pytest.mark.parametrize("case", CASES)
def test_captured_equals_eager_bit_for_bit(case):
    config, shape = CASES[case]
    plain = make(config, shape)
    fast, capturer = captured(config, shape)
    kept = []
    for step in range(8):
        batch = batch_for(plain, shape, seed=step)
        before = batch.clone()
        expected, metrics = plain.update(batch, NOISE), fast.update(batch, NOISE)
        assert (batch == before).all()  # captured inputs are copies: replays do not write to the caller's batch
        kept.append((expected, metrics))
        batch["obs"].apply_(torch.Tensor.zero_)
        batch["actions"].fill_(0.7)
        batch["reward"].fill_(1e6)
    for expected, metrics in kept:  # at the end: later replays must not reach into earlier results
        torch.testing.assert_close(metrics, expected, rtol=0, atol=0)
    same_state(fast, plain)
    # Updates with and without a step of the actor are two functions.
    kinds = getattr(config, "policy_delay", 1)
    assert capturer.captures == kinds
    assert (capturer.warm_ups, capturer.replays) == (kinds * WARM_UP, 8 - kinds * WARM_UP)


@pytest.mark.parametrize(
    "case", [case if case in CAPTURED else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
@pytest.mark.slow
def test_nothing_is_compiled_again_inside_a_capture(case, quick_compile, monkeypatch):
    """What was compiled in the warm-up must serve the capture: a GPU cannot compile in the middle of one."""
    monkeypatch.setattr(engine, "unavailable", lambda speed, device: None)
    monkeypatch.setattr(engine, "CudaCapturer", Again)
    config, shape = CASES[case]
    fast = make(config, shape)
    accelerate(fast, "graph")
    compare_over_updates(fast, make(config, shape), config, shape, 6, 1e-4)


def test_each_batch_shape_has_its_warm_up_and_one_capture():
    config, shape = CASES["cqn_as, state"]
    plain = make(config, shape)
    fast, capturer = captured(config, shape)
    for step in range(12):
        batch = batch_for(plain, shape, size=(8, 6)[step % 2], seed=step)
        torch.testing.assert_close(fast.update(batch), plain.update(batch), rtol=0, atol=0)
    assert (capturer.warm_ups, capturer.captures, capturer.replays) == (2 * WARM_UP, 2, 2 * (6 - WARM_UP))
    same_state(fast, plain)


def test_a_capture_reads_the_same_places_every_time():
    places = []

    def step(batch, noise):
        places.append((batch["obs"]["state"].data_ptr(), noise["exploration_std"].data_ptr()))
        return {"sum": batch["obs"]["state"].sum() + noise["exploration_std"]}

    run, given = Captured(step, Again()), []
    for number in range(WARM_UP + 4):
        batch = make_batch(ONLY_STATE, 1, seed=number)
        noise = torch.tensor(float(number))
        expected = batch["obs", "state"].sum() + noise
        assert torch.equal(run(batch, {"exploration_std": noise})["sum"], expected)
        given.append((batch, noise))
    assert len(set(places[WARM_UP:])) == 1
    assert places[-1][0] not in {batch["obs", "state"].data_ptr() for batch, _ in given}
    assert places[-1][1] not in {noise.data_ptr() for _, noise in given}


@pytest.mark.parametrize("case", CASES)
def test_captured_acting_equals_eager_and_follows_the_weights(case):
    config, shape = CASES[case]
    plain, fast, capturer = make(config, shape), make(config, shape), Again()
    fast.run_propose = Captured(fast.propose, capturer, lambda: fast.acting_phase)
    chosen = []
    for step in range(WARM_UP + 3):
        observation = make_observation(shape, 4, torch.Generator().manual_seed(step))
        plans = [agent.act(observation, torch.Generator().manual_seed(step)) for agent in (plain, fast)]
        assert torch.equal(plans[0].actions, plans[1].actions)
        assert plans[0].value is plans[1].value is None or torch.equal(plans[0].value, plans[1].value)
        assert not plans[1].actions.requires_grad
        chosen.append(plans[1].actions)
        for agent in (plain, fast):
            agent.update(batch_for(plain, shape, seed=step), NOISE)
    assert (capturer.warm_ups, capturer.captures, capturer.replays) == (WARM_UP, 1, 3)
    assert not torch.equal(chosen[-1], chosen[-2])
    fast.act(make_observation(shape, 2, torch.Generator()), torch.Generator())
    assert (capturer.warm_ups, capturer.captures) == (WARM_UP + 1, 1)


def test_loading_a_state_drops_what_was_captured(monkeypatch):
    """An optimizer takes new tensors when it loads; a capture would go on with its old ones."""
    capturer = Again()
    monkeypatch.setattr(engine, "CudaCapturer", lambda: capturer)
    monkeypatch.setattr(engine, "unavailable", lambda speed, device: None)
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    config, shape = CASES["drqv2_as, state"]
    agent = make(config, shape)
    accelerate(agent, "graph")
    saved = agent.state_dict()
    for _ in range(WARM_UP + 1):
        agent.update(make_batch(shape, 2))
    assert capturer.captures == 1
    agent.load_state_dict(saved)
    agent.update(make_batch(shape, 2))
    assert (capturer.warm_ups, capturer.replays) == (WARM_UP + 1, 1)


def test_a_state_of_another_kind_of_device_can_be_loaded():
    """What a GPU saves: its generator's 16 bytes, and optimisers that can be captured."""
    config, shape = CASES["drqv2_as, state"]
    agent, other = make(config, shape), make(config, shape)
    other.update(make_batch(shape, 2))
    state = other.state_dict()
    state["generator"] = torch.zeros(16, dtype=torch.uint8)
    for name in ("critic_optimizer", "actor_optimizer"):
        state[name]["param_groups"][0]["capturable"] = True
    agent.load_state_dict(state)
    assert torch.equal(weights(agent), weights(other))
    assert agent.updates == 1
    assert agent.actor_optimizer.param_groups[0]["capturable"] is False
    agent.update(make_batch(shape, 2))


# On a GPU, or on what stands in for one where there is none.


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_what_a_gpu_saved_acts_on_the_cpu(case, gpu):
    config, shape = CASES[case]
    on_gpu, cpu = make(config, shape, "cuda"), make(config, shape)
    on_gpu.update(batch_for(on_gpu, shape).to("cuda"))
    cpu.load_state_dict(on_gpu.state_dict())
    observation = make_observation(shape, 4, torch.Generator().manual_seed(0))
    plans = [agent.act(observation, torch.Generator().manual_seed(0)).actions for agent in (on_gpu, cpu)]
    torch.testing.assert_close(plans[0], plans[1], rtol=0, atol=1e-3)
    back = make(config, shape, "cuda")
    back.load_state_dict(cpu.state_dict())
    back.update(batch_for(on_gpu, shape).to("cuda"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_a_cuda_graph_equals_eager(case, gpu, monkeypatch):
    config, shape = CASES[case]
    # What the fake GPU computes, the CPU computes too, and at once. Not attention, for which they take other ways: its
    # key biases have no gradient but rounding, which Adam makes as large as any.
    place = "cuda" if gpu is None or config.name == "act" else "cpu"
    plain, fast = make(config, shape, place), make(config, shape, "cuda")
    if gpu is not None:
        monkeypatch.setattr(engine, "WARM_UP", 1)
    capture(fast)
    kinds = getattr(config, "policy_delay", 1)
    first = (engine.WARM_UP + 1) * kinds  # all kinds are captured
    for step in range(first + 2):
        if step == first + 1:  # a loaded optimiser has other tensors
            fast.load_state_dict(copy.deepcopy(fast.state_dict()))
        batch = batch_for(plain, shape, seed=step)
        expected, metrics = plain.update(batch.to(place), NOISE), fast.update(batch.to("cuda"), NOISE)
        metrics = {name: value.to(place) for name, value in metrics.items()}
        torch.testing.assert_close(metrics, expected, rtol=1e-4, atol=1e-5)
        observation = make_observation(shape, 4, torch.Generator().manual_seed(step))
        plans = [agent.act(observation, torch.Generator().manual_seed(0)) for agent in (plain, fast)]
        torch.testing.assert_close(plans[0].actions, plans[1].actions, rtol=1e-3, atol=1e-4)
    moved = (weights(plain) - weights(make(config, shape, place))).norm()
    assert (weights(fast).to(place) - weights(plain)).norm() < 0.02 * moved


@pytest.mark.long
def test_graphs_share_a_stream_and_a_pool_until_all_are_dropped(gpu):
    if gpu is None:
        pytest.skip("asks the fake GPU what it was told")
    config, shape = CASES["td3, state"]
    agent = make(config, shape, "cuda")
    capture(agent)

    def use():
        for _ in range(WARM_UP + 1):
            for _ in range(config.policy_delay):
                agent.update(batch_for(agent, shape).to("cuda"), NOISE)
            agent.act(make_observation(shape, 4, torch.Generator()), torch.Generator())

    use()
    # Updates with and without a step of the actor, and acting.
    assert len(gpu.captures) == 3
    assert len(set(gpu.captures)) == 1
    (stream, pool) = gpu.captures[0]
    assert pool is not None
    assert all(found is stream for found in gpu.side_streams)
    agent.load_state_dict(agent.state_dict())
    use()
    assert len(gpu.captures) == 6
    assert all(found is stream for found, _ in gpu.captures)
    assert len({other for _, other in gpu.captures[3:]}) == 1
    assert gpu.captures[3][1] is not pool


def test_numbers_leave_a_capture_together_in_their_order():
    config, shape = CASES["td7, state"]
    plain = make(config, shape)
    fast, _ = captured(config, shape)
    for step in range(2 * (WARM_UP + 1)):
        batch = batch_for(plain, shape, seed=step)
        expected, metrics = plain.update(batch), fast.update(batch)
        assert list(metrics) == list(expected)
    assert metrics["priority"].shape == (8,)
    numbers = [value for value in metrics.values() if not value.ndim]
    assert len(numbers) > 5
    assert len({value.untyped_storage().data_ptr() for value in numbers}) == 1


@pytest.fixture
def matmul_precision():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(("precision", "found"), [("float32", "highest"), ("tf32", "high"), ("bf16", "high")])
def test_what_stays_float32_under_bf16_is_multiplied_in_tf32(precision, found, gpu, matmul_precision):
    accelerate(make(*CASES["cqn_as, state"], "cuda"), "eager", precision)
    assert torch.get_float32_matmul_precision() == found
    assert torch.backends.cudnn.allow_tf32 == (found == "high")


@REAL_CUDA
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_compiled_cuda_graph_equals_eager(case):
    config, shape = CASES[case]
    plain, fast = make(config, shape, "cuda"), make(config, shape, "cuda")
    accelerate(fast, "graph")
    for step in range(8):
        batch = batch_for(plain, shape, seed=step).to("cuda")
        expected, metrics = plain.update(batch, NOISE), fast.update(batch, NOISE)
        torch.testing.assert_close(metrics, expected, rtol=1e-3, atol=1e-4)


# What cannot be had.


def test_what_is_missing_is_named(monkeypatch):
    agent = make(*CASES["cqn_as, state"])
    with pytest.raises(ConfigError, match=r"speed='graph' is not available here: CUDA graphs need an NVIDIA GPU"):
        accelerate(agent, "graph")
    with pytest.raises(ConfigError, match=r"precision='tf32' needs an NVIDIA GPU \(device='cpu'\)"):
        accelerate(agent, "eager", "tf32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no CUDA device" in unavailable("graph", torch.device("cuda"))
    assert unavailable("eager", torch.device("cpu")) is None
    # Nothing was changed on the way to a refusal.
    plain = make(*CASES["cqn_as, state"])
    batch = make_batch(ONLY_STATE, 2)
    assert torch.equal(agent.update(batch)["loss"], plain.update(batch)["loss"])


def test_a_missing_compiler_is_named():
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        assert "C++ compiler" in unavailable("compile", torch.device("cpu"))
        with pytest.raises(ConfigError, match=r"torch\.compile needs a C\+\+ compiler on the CPU"):
            accelerate(make(*CASES["cqn_as, state"]), "compile")
    assert unavailable("eager", torch.device("cpu")) is None


# What a capture forbids, looked for on the CPU.


class Watch(TorchDispatchMode):
    """Notes operations that a CUDA graph cannot hold: values read back, sizes that depend on them, host constants."""

    forbidden = ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "unique")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in str(func) for name in self.forbidden):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_read_back_or_brought_from_the_host(case, monkeypatch):
    # The imitation losses then take the way that they take on a GPU.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    config, shape = CASES[case]
    agent = make(config, shape)
    batch, noise = (
        batch_for(agent, shape, size=4, seed=0),
        {**agent.sample_noise(4), "exploration_std": torch.zeros(())},
    )
    chosen = agent.sample_acting_noise(4, torch.Generator(), explore=True)
    with Watch() as watch:
        agent.step(batch, noise)
        agent.propose(dict(batch["obs"].items()), chosen)
    assert not watch.found


# Low precision.


def wide(kind):
    encoder = EncoderConfig(channels=8, feature_dim=32, shift=2)
    return make(kind(hidden_dim=64, trunk_dim=32, atoms=21, chunk_length=3, encoder=encoder, lr=1e-4), BOTH)


@pytest.mark.parametrize("kind", [CQNASConfig, DrQv2ASConfig])
@pytest.mark.long
def test_bfloat16_stays_close_and_leaves_the_weights_alone(kind):
    plain, low = wide(kind), wide(kind)
    names = list(low.state_dict()["critic"])
    accelerate(low, "eager", "bf16")
    assert list(low.state_dict()["critic"]) == names
    same_state(low, plain)
    for step in range(3):
        batch = make_batch(BOTH, 3, size=32, seed=step)
        expected, metrics = plain.update(batch, NOISE), low.update(batch, NOISE)
        assert expected["critic_loss"] != metrics["critic_loss"]  # it does compute in fewer bits
        assert metrics["critic_loss"].item() == pytest.approx(expected["critic_loss"].item(), rel=0.01)
        assert all(v.dtype == torch.float32 for v in metrics.values())
    for part in low.parts.values():
        if isinstance(part, torch.nn.Module):
            assert all(p.dtype == torch.float32 for p in part.parameters())
            assert all(p.grad is None or p.grad.dtype == torch.float32 for p in part.parameters())
    moved, apart = (weights(plain) - weights(wide(kind))).norm(), (weights(low) - weights(plain)).norm()
    assert apart < 0.5 * moved
    # A state of one precision serves the other.
    plain.load_state_dict(low.state_dict())
    same_state(low, plain)


@pytest.mark.parametrize("kind", [CQNASConfig, DrQv2ASConfig])
def test_acting_stays_in_float32_under_bf16(kind):
    """For a few rows casting the weights costs more than it saves; deployment acts in float32 too."""
    plain, low = wide(kind), wide(kind)
    accelerate(low, "eager", "bf16")
    observation = make_observation(BOTH, 8, torch.Generator().manual_seed(0))
    one, two = (agent.act(observation, torch.Generator().manual_seed(1)) for agent in (plain, low))
    assert torch.equal(one.actions, two.actions)
    assert torch.equal(one.value, two.value)
