"""LoRA adapters over one copy of the base weights: always applied, or chosen row by row."""
