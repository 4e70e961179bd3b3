"""The engine `vllm`: vLLM samples, with the weights that were published last (docs/vllm.md)."""
