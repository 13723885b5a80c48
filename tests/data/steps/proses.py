"""Prose that judges should keep, in English and in Chinese."""

from __future__ import annotations

ENGLISH = """The kettle was the first thing that Martha unpacked when they moved to the coast, and it has stood on the
stove ever since. Every morning she fills it with water from the well behind the house. Visitors have often asked why
she does not buy an electric one, but she only smiles and says that good tea needs patience.

There is some truth in that, of course. Water which boils slowly keeps its taste, or so her grandmother used to claim.
Nobody in the village would dare to argue with either of them. On Sundays the whole street comes to drink a cup."""

CHINESE = """玛莎搬到海边的时候，最先拿出来的就是这把水壶。从那以后，它一直放在炉子上。
每天早晨，她都用屋后井里的水把它灌满。客人常常问她为什么不买一把电水壶，她只是笑笑，说好茶需要耐心。

这话当然有几分道理。她的祖母说过，慢慢烧开的水味道不会变。村里没有人敢和她们争论。到了星期天，整条街的人都来喝上一杯。"""
