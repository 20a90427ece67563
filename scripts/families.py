"""Small models of the causal families that `transformers` has, as a Generation takes them: whose text is plain torch's.

    OMP_NUM_THREADS=1 .venv/bin/python scripts/families.py [--family Llama]

Random weights, three prompts of different lengths, a stop token, greedy at 21 bits. Plain torch reads the whole text
again for each token. `roots`: whether executors fused and torch, and the reference for one interval, agree.
"""

from __future__ import annotations

import argparse
import os
from typing import Any, Final

os.environ["HF_HUB_OFFLINE"] = "1"  # set before transformers is imported: models are made here
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
import transformers
from torch import nn

import offchain
from offchain.errors import OffchainError
from offchain.generation import Generation
from offchain.training import Run

VOCABULARY: Final = 61
PROMPTS: Final = [[3, 5, 9, 11, 4], [7], [3, 4, 5]]
NEW: Final = 12
B: Final[dict[str, Any]] = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
L: Final[dict[str, Any]] = {
    **B,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
M: Final[dict[str, Any]] = {**L, "num_key_value_heads": 4}
N: Final = {key: value for key, value in M.items() if key != "num_key_value_heads"}
FAMILIES: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "GPT2": ("GPT2Config", "GPT2LMHeadModel", dict(**B, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "Llama": ("LlamaConfig", "LlamaForCausalLM", dict(**L)),
    "Mistral": ("MistralConfig", "MistralForCausalLM", dict(**L, sliding_window=8)),
    "Qwen2": ("Qwen2Config", "Qwen2ForCausalLM", dict(**L)),
    "Qwen3": ("Qwen3Config", "Qwen3ForCausalLM", dict(**L, head_dim=8)),
    "Qwen2Moe": (
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        dict(**L, moe_intermediate_size=16, shared_expert_intermediate_size=32, num_experts=4, num_experts_per_tok=2),
    ),
    "Qwen3Moe": (
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        dict(**L, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2, head_dim=8),
    ),
    "Mixtral": (
        "MixtralConfig",
        "MixtralForCausalLM",
        dict(**L, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    ),
    "Gemma": ("GemmaConfig", "GemmaForCausalLM", dict(**L, head_dim=8)),
    "Gemma2": ("Gemma2Config", "Gemma2ForCausalLM", dict(**L, head_dim=8, sliding_window=8)),
    "Gemma3Text": ("Gemma3TextConfig", "Gemma3ForCausalLM", dict(**L, head_dim=8, sliding_window=8)),
    "Phi": ("PhiConfig", "PhiForCausalLM", dict(**M)),
    "Phi3": ("Phi3Config", "Phi3ForCausalLM", dict(**L, sliding_window=None)),
    "OPT": (
        "OPTConfig",
        "OPTForCausalLM",
        dict(
            **B,
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            word_embed_proj_dim=32,
        ),
    ),
    "GPTNeoX": ("GPTNeoXConfig", "GPTNeoXForCausalLM", dict(**N)),
    "GPTNeo": (
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        dict(
            **B,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=8,
            max_position_embeddings=64,
            intermediate_size=64,
        ),
    ),
    "Bloom": ("BloomConfig", "BloomForCausalLM", dict(**B, hidden_size=32, n_layer=2, n_head=4)),
    "Falcon": (
        "FalconConfig",
        "FalconForCausalLM",
        dict(**B, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64),
    ),
    "Falcon with alibi": (
        "FalconConfig",
        "FalconForCausalLM",
        dict(
            **B,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            alibi=True,
            new_decoder_architecture=False,
        ),
    ),
    "StableLm": ("StableLmConfig", "StableLmForCausalLM", dict(**L)),
    "Mamba": ("MambaConfig", "MambaForCausalLM", dict(**B, hidden_size=32, state_size=8, num_hidden_layers=2)),
    "Mamba2": (
        "Mamba2Config",
        "Mamba2ForCausalLM",
        dict(**B, hidden_size=32, state_size=8, num_hidden_layers=2, num_heads=8, head_dim=8, n_groups=2, chunk_size=4),
    ),
    "FalconMamba": (
        "FalconMambaConfig",
        "FalconMambaForCausalLM",
        dict(**B, hidden_size=32, state_size=8, num_hidden_layers=2),
    ),
    "Rwkv": (
        "RwkvConfig",
        "RwkvForCausalLM",
        dict(**B, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, context_length=64),
    ),
    "RecurrentGemma": (
        "RecurrentGemmaConfig",
        "RecurrentGemmaForCausalLM",
        dict(
            **B,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            lru_width=32,
            attention_window_size=8,
        ),
    ),
    "Jamba": (
        "JambaConfig",
        "JambaForCausalLM",
        dict(
            **L,
            num_experts=2,
            num_experts_per_tok=1,
            use_mamba_kernels=False,
            mamba_d_state=4,
            attn_layer_period=2,
            attn_layer_offset=1,
        ),
    ),
    "Olmo": ("OlmoConfig", "OlmoForCausalLM", dict(**L)),
    "Olmo2": ("Olmo2Config", "Olmo2ForCausalLM", dict(**L)),
    "Olmo3": ("Olmo3Config", "Olmo3ForCausalLM", dict(**L, sliding_window=8)),
    "Olmoe": ("OlmoeConfig", "OlmoeForCausalLM", dict(**L, num_experts=4, num_experts_per_tok=2)),
    "Cohere": ("CohereConfig", "CohereForCausalLM", dict(**L)),
    "Cohere2": ("Cohere2Config", "Cohere2ForCausalLM", dict(**L, sliding_window=8)),
    "Starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", dict(**L, sliding_window=8)),
    "SmolLM3": ("SmolLM3Config", "SmolLM3ForCausalLM", dict(**L)),
    "GPTJ": ("GPTJConfig", "GPTJForCausalLM", dict(**B, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4)),
    "CodeGen": (
        "CodeGenConfig",
        "CodeGenForCausalLM",
        dict(**B, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4),
    ),
    "Mpt": (
        "MptConfig",
        "MptForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "n_layers": 2,
            "n_heads": 4,
            "max_seq_len": 64,
            "tie_word_embeddings": False,
        },
    ),
    "GPTBigCode": (
        "GPTBigCodeConfig",
        "GPTBigCodeForCausalLM",
        dict(**B, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    ),
    "Granite": ("GraniteConfig", "GraniteForCausalLM", dict(**L)),
    "Nemotron": ("NemotronConfig", "NemotronForCausalLM", dict(**L)),
    "Persimmon": ("PersimmonConfig", "PersimmonForCausalLM", dict(**N)),
    "Glm": ("GlmConfig", "GlmForCausalLM", dict(**L, head_dim=8)),
    "Glm4": ("Glm4Config", "Glm4ForCausalLM", dict(**L, head_dim=8)),
    "Ernie4_5": ("Ernie4_5Config", "Ernie4_5ForCausalLM", dict(**L, head_dim=8)),
    "Exaone4": ("Exaone4Config", "Exaone4ForCausalLM", dict(**L, sliding_window=8)),
    "Helium": ("HeliumConfig", "HeliumForCausalLM", dict(**L, head_dim=8)),
    "DeepseekV3": (
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        dict(
            **M,
            moe_intermediate_size=16,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            kv_lora_rank=8,
            q_lora_rank=8,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=8,
            first_k_dense_replace=1,
        ),
    ),
    "GptOss": (
        "GptOssConfig",
        "GptOssForCausalLM",
        dict(**L, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=8),
    ),
    "Llama4Text": (
        "Llama4TextConfig",
        "Llama4ForCausalLM",
        dict(**L, head_dim=8, num_local_experts=2, intermediate_size_mlp=64, attention_chunk_size=8),
    ),
    "Lfm2": ("Lfm2Config", "Lfm2ForCausalLM", dict(**L, full_attn_idxs=[1])),
    "BitNet": ("BitNetConfig", "BitNetForCausalLM", dict(**L)),
    "Arcee": ("ArceeConfig", "ArceeForCausalLM", dict(**L)),
    "SeedOss": ("SeedOssConfig", "SeedOssForCausalLM", dict(**L, head_dim=8)),
    "HunYuanDenseV1": ("HunYuanDenseV1Config", "HunYuanDenseV1ForCausalLM", dict(**L, head_dim=8)),
    "DiffLlama": ("DiffLlamaConfig", "DiffLlamaForCausalLM", dict(**L)),
    "XGLM": (
        "XGLMConfig",
        "XGLMForCausalLM",
        dict(**B, d_model=32, ffn_dim=64, num_layers=2, attention_heads=4, max_position_embeddings=64),
    ),
    "BioGpt": (
        "BioGptConfig",
        "BioGptForCausalLM",
        dict(
            **B,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
        ),
    ),
    "CTRL": (
        "CTRLConfig",
        "CTRLLMHeadModel",
        {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4},
    ),
    "OpenAIGPT": (
        "OpenAIGPTConfig",
        "OpenAIGPTLMHeadModel",
        {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4},
    ),
    "Bert": (
        "BertConfig",
        "BertLMHeadModel",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "is_decoder": True,
        },
    ),
    "Qwen3Next": (
        "Qwen3NextConfig",
        "Qwen3NextForCausalLM",
        dict(
            **L,
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
        ),
    ),
}


def made(family: str) -> nn.Module:
    """A model whose weights are large enough that texts differ."""
    config, model, fields = FAMILIES[family]
    torch.manual_seed(0)
    found: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**fields)).eval().float()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in found.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[-1] ** 0.5)
    return found


def greedy(model: Any) -> list[list[int]]:
    """What plain torch says."""
    found = []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(NEW):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        found.append(ids[len(prompt) :])
    return found


def row(family: str) -> str:
    """A row of the table."""
    model = made(family)
    wanted = greedy(model)
    stop = wanted[0][6] if wanted[0][6] not in wanted[0][:5] else VOCABULARY - 1
    try:
        program = Generation(model, PROMPTS, NEW, stop=stop, bits=21)
        run = offchain.compile(program, threads=1)
    except OffchainError as error:
        return f"| {family} | refused: {error} | | |"
    run.run()
    others = [Run(run.task, executor, threads=1) for executor in ("torch", "reference")]
    others[0].run()
    others[1].run(run.task.interval)
    same = all(other.state_roots == run.state_roots[: len(other.state_roots)] for other in others)
    text = [new[: new.index(stop)] if stop in new else new for new in wanted]
    said = "plain torch's" if program.continued(run.outputs["token"]) == text else "ANOTHER"
    return f"| {family} | {said} | {'agree' if same else 'DIFFER'} | {len(run.task.graph.nodes)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES))
    print("| family | text | roots | nodes |\n|---|---|---|---|")
    for family in parser.parse_args().family or FAMILIES:
        print(row(family), flush=True)


if __name__ == "__main__":
    main()
