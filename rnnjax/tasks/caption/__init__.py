"""A task: say what is in an image, as Show and Tell does.

    x_{-1} = W CNN(image)                                the image enters once
    w_0 = end;  s_t, p(w_t) = decoder(s_{t-1}, E[w_{t-1}])

Scenes are composed of scikit-learn's handwritten digits, one to three of them in the quarters of a
canvas, each drawn thick or thin, tilted or upright; `scenes.py` says how. No digit of a test scene
was ever trained on, and none stands where, and as, one of its kind does in training.

Reference:
  Vinyals, Toshev, Bengio & Erhan, Show and Tell: A Neural Image Caption Generator, CVPR 2015,
  arXiv:1411.4555; Xu et al., Show, Attend and Tell: Neural Image Caption Generation with Visual
  Attention, ICML 2015, arXiv:1502.03044, for attention.
"""

from rnnjax.tasks.caption.task import Caption as Caption
