"""Instructions whose keeping a program can see, half of them in English and half in Chinese."""

from __future__ import annotations

from dataclasses import dataclass

from setsail.evaluate.battery.checks import (
    Check,
    contains,
    ends_with,
    every,
    in_case,
    in_language,
    json_list,
    json_object,
    lines,
    most_characters,
    most_words,
    says,
    starts_with,
)


@dataclass(frozen=True)
class Instruction:
    """What is asked, and how an answer is told to keep to it."""

    prompt: str
    check: Check


ENGLISH: tuple[Instruction, ...] = (
    Instruction("Say exactly: blue river", says("blue river")),
    Instruction("Reply with the single word yes.", says("yes")),
    Instruction("Write the word apple three times, separated by spaces.", says("apple apple apple")),
    Instruction("What colour is the sky on a clear day? Answer with one word.", says("blue")),
    Instruction("What day comes after Monday? Answer with one word.", says("Tuesday")),
    Instruction("Is ice colder than boiling water? Answer only yes or no.", says("yes")),
    Instruction("Repeat this sentence: The cat sleeps on the warm stone.", says("The cat sleeps on the warm stone.")),
    Instruction("Count from 1 to 5, separated by commas. Write nothing else.", says("1, 2, 3, 4, 5")),
    Instruction("Name three animals, one per line, and nothing else.", lines(3)),
    Instruction("List four fruits, one per line, and nothing else.", lines(4)),
    Instruction("List three colours. Begin each line with a hyphen.", lines(3, "-")),
    Instruction("Write two sentences about trees, each on its own line.", lines(2)),
    Instruction("Write one sentence about the sea. Begin with the word Today.", starts_with("Today")),
    Instruction(
        'Begin your answer with "Of course," and name the capital of France.',
        every(starts_with("Of course,"), contains("Paris")),
    ),
    Instruction(
        "What is the capital of Italy? End your answer with the word done.",
        every(contains("Rome"), ends_with("done")),
    ),
    Instruction("Write a greeting in capital letters only.", in_case("upper")),
    Instruction("Describe winter in at most ten words.", every(most_words(10), in_language("en"))),
    Instruction("Write one sentence about bread with the word oven in it.", contains("bread", "oven")),
    Instruction(
        'Give a JSON object with the keys "name" and "age" of a person. Write only JSON.', json_object("name", "age")
    ),
    Instruction("Give a JSON list of three numbers. Write only JSON.", json_list(3)),
)

CHINESE: tuple[Instruction, ...] = (
    Instruction("请只回答这四个字：蓝色河流", says("蓝色河流")),
    Instruction("把“苹果”这个词写三遍，用空格隔开。", says("苹果 苹果 苹果")),
    Instruction("晴天的天空是什么颜色？只用一个词回答。", says("蓝色", "蓝", "天蓝色")),
    Instruction("星期一的后一天是星期几？只回答三个字。", says("星期二")),
    Instruction("冰比开水冷吗？只回答“是”或“否”。", says("是")),
    Instruction("请重复这句话：猫睡在温暖的石头上。", says("猫睡在温暖的石头上。")),
    Instruction("从1数到5，用逗号隔开，不要写别的。", says("1,2,3,4,5", "1，2，3，4，5", "1、2、3、4、5")),
    Instruction("写出三种动物，每行一种，不要写别的。", every(lines(3), in_language("zh"))),
    Instruction("写出四种水果，每行一种，不要写别的。", every(lines(4), in_language("zh"))),
    Instruction("列出三种颜色，每行以“-”开头。", every(lines(3, "-"), in_language("zh"))),
    Instruction("写两句关于树的话，每句占一行。", every(lines(2), in_language("zh"))),
    Instruction("写一句关于大海的话，以“今天”开头。", starts_with("今天")),
    Instruction("以“当然，”开头，回答法国的首都是哪里。", every(starts_with("当然，"), contains("巴黎"))),
    Instruction("中国的首都是哪里？回答以“完毕”两个字结尾。", every(contains("北京"), ends_with("完毕"))),
    Instruction("用不超过十个字描写冬天。", most_characters(10)),
    Instruction("写一句包含“面包”和“烤箱”的话。", contains("面包", "烤箱")),
    Instruction("请用中文介绍一下你自己。", in_language("zh")),
    Instruction("请用英文写一句问候语。", in_language("en")),
    Instruction("“谢谢”用英语怎么说？", contains("thank")),
    Instruction("写一个 JSON 对象，键为 name 和 age，只写 JSON。", json_object("name", "age")),
)
