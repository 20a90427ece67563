"""A multi-layer perceptron with the choices of scikit-learn's MLPClassifier: Glorot uniform, Adam, L2 penalty."""

# ruff: noqa
import numpy as np
import torch
import torch.nn as nn


class MLPClassifier(nn.Module):
    def __init__(self, n_features, n_classes, hidden_layer_sizes=(20, 10), activation="relu", alpha=1e-4):
        super().__init__()
        self.alpha = alpha
        sizes = [n_features, *hidden_layer_sizes, n_classes]
        self.layers_ = nn.ModuleList([nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:])])
        self.activation = {"relu": torch.relu, "tanh": torch.tanh, "logistic": torch.sigmoid, "identity": lambda x: x}[
            activation
        ]
        factor = 2.0 if activation == "logistic" else 6.0
        for layer in self.layers_:
            fan_out, fan_in = layer.weight.shape
            init_bound = np.sqrt(factor / (fan_in + fan_out))
            with torch.no_grad():
                layer.weight.uniform_(-init_bound, init_bound)
                layer.bias.uniform_(-init_bound, init_bound)

    def forward(self, X):
        for i, layer in enumerate(self.layers_):
            X = layer(X)
            if i + 1 != len(self.layers_):
                X = self.activation(X)
        return X

    def loss(self, X, y):
        n_samples = X.shape[0]
        log_proba = torch.log_softmax(self.forward(X), dim=1)
        loss = -log_proba[torch.arange(n_samples), y].mean()
        values = 0
        for layer in self.layers_:
            s = layer.weight.ravel()
            values += torch.dot(s, s)
        loss += (0.5 * self.alpha) * values / n_samples
        return loss
