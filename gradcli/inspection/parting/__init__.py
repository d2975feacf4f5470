"""Where two runs part first, and how fast they part, from what both have recorded.

contrast         one fact that differs
first_place      the step, the layer and the stage of the step in which they part first
setting_contrasts  the settings of single layers that differ
step_gaps        how far apart losses and gradient norms are, step by step
growth           how fast that grows
end_weights      how far apart the weights of the last checkpoints are
"""
