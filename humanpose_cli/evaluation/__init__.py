"""How good models are: protocols, ablations, tables and plots."""
