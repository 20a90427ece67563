"""A part-of-speech tagger as tutorials have it: embedding, two-way GRU, one linear layer; padding is ignored."""

# ruff: noqa
import torch
import torch.nn as nn
import torch.nn.functional as F


class GRUTagger(nn.Module):
    def __init__(self, vocab_size, tagset_size, embedding_dim=12, hidden_dim=10, num_layers=2, dropout=0.2, pad_idx=0):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.word_embeddings = nn.Embedding(vocab_size, embedding_dim, padding_idx=pad_idx)
        self.gru = nn.GRU(
            embedding_dim, hidden_dim, num_layers=num_layers, bidirectional=True, batch_first=True, dropout=dropout
        )
        self.dropout = nn.Dropout(dropout)
        self.hidden2tag = nn.Linear(2 * hidden_dim, tagset_size)

    def init_hidden(self, batch_size, device):
        return torch.zeros(2 * self.gru.num_layers, batch_size, self.hidden_dim, device=device)

    def forward(self, sentence):
        embeds = self.dropout(self.word_embeddings(sentence))
        outputs, hidden = self.gru(embeds, self.init_hidden(sentence.size(0), sentence.device))
        tag_space = self.hidden2tag(self.dropout(outputs))
        return F.log_softmax(tag_space, dim=-1)


def tagging_loss(model, sentence, tags, tag_pad_idx=-100):
    scores = model(sentence)
    return F.nll_loss(scores.view(-1, scores.shape[-1]), tags.view(-1), ignore_index=tag_pad_idx)
