"""A lean loop around transformers' own classes: padded batches of similar lengths, nothing else in the way."""

from __future__ import annotations

from itertools import count
from random import Random

import torch
from meter import Work, batches_by_tokens, read_work
from peers import learner, load
from torch.nn.functional import cross_entropy


def main() -> None:
    work, setting, meter = read_work()
    torch.set_num_threads(1)
    model = learner(load(work, dtype=getattr(torch, setting["dtype"])), work)
    model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=work.learning_rate, fused=True)
    for epoch in count():
        for members in grouped(work, epoch):
            ids, mask, labels = padded(work, members)
            if work.labels is None:
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
                loss = cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten())
            else:
                logits = model(input_ids=ids, attention_mask=mask).logits
                loss = cross_entropy(logits.float(), torch.tensor([work.labels[index] for index in members]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if meter.tick(int(mask.sum()), loss.item()):
                meter.report(torch=torch.__version__)


def grouped(work: Work, epoch: int) -> list[list[int]]:
    """Steps of documents of similar length in random order."""
    order = sorted(range(len(work.documents)), key=lambda index: len(work.documents[index]))
    by_length = Work(**{**vars(work), "documents": [work.documents[index] for index in order]})
    steps = [[order[place] for place in members] for members in batches_by_tokens(by_length)]
    Random(epoch).shuffle(steps)
    return steps


def padded(work: Work, members: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(work.documents[index]) for index in members)
    ids = torch.zeros(len(members), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, index in enumerate(members):
        document = torch.tensor(work.documents[index])
        ids[row, : len(document)] = document
        mask[row, : len(document)] = 1
        labels[row, work.first_learned[index] : len(document)] = document[work.first_learned[index] :]
    return ids, mask, labels


if __name__ == "__main__":
    main()
