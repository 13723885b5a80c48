"""A lean loop around torch's own LSTM, as tutorials write it: padded batches of similar lengths, sequences packed."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import torch
from meter import read_work
from plain import grouped, padded
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Classifier(nn.Module):
    """Words' vectors, one LSTM in both directions, the mean of its states, a hidden layer and the labels."""

    def __init__(self, shape: dict[str, int], num_labels: int) -> None:
        super().__init__()
        width, dropout = shape["hidden_size"], shape["hidden_dropout_prob"]
        self.words = nn.Embedding(shape["vocab_size"], shape["embedding_size"])
        self.lstm = nn.LSTM(shape["embedding_size"], width // 2, batch_first=True, bidirectional=True)
        self.dense, self.labels = nn.Linear(width, width), nn.Linear(width, num_labels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(dim=1)
        sequence = pack_padded_sequence(self.dropout(self.words(ids)), lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(sequence)[0], batch_first=True)
        means = (states * mask[..., None].to(states.dtype)).sum(dim=1) / lengths[:, None].to(states.dtype)
        return self.labels(self.dropout(torch.relu(self.dense(means))))


def main() -> None:
    work, setting, meter = read_work()
    torch.set_num_threads(1)
    shape = json.loads((Path(work.model) / "config.json").read_text("utf-8"))
    assert work.labels is not None
    model = Classifier(shape, len(set(work.labels))).to(getattr(torch, setting["dtype"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=work.learning_rate, fused=True)
    for epoch in count():
        for members in grouped(work, epoch):
            ids, mask, _ = padded(work, members)
            logits = model(ids, mask).float()
            loss = cross_entropy(logits, torch.tensor([work.labels[index] for index in members]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if meter.tick(int(mask.sum()), loss.item()):
                meter.report(torch=torch.__version__)


if __name__ == "__main__":
    main()
