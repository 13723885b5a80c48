"""What the figures allow to be said about two systems, in plain words, in English and Chinese.

One metric stated beforehand leads: macro F1 where texts are told apart, what each task names where something else is
said of them, nDCG@10 or Spearman's correlation where they are searched, preference accuracy where answers are compared,
chrF where systems write answers, bits per byte otherwise (per masked byte where they restore what was hidden). The lead
alone cannot make a system "better" while another judged metric shows it worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from setsail.base.page.words import Language
from setsail.evaluate import numbers
from setsail.evaluate.interval import MIN_UNITS, Decision, Interval
from setsail.evaluate.metrics import METRICS


@dataclass(frozen=True)
class Difference:
    """One metric of two systems: both values, system − against with its interval, and what that decides."""

    system_value: float
    against_value: float
    gap: Interval
    decision: Decision


@dataclass(frozen=True)
class Comparison:
    """A system against another: every metric that both have, the metric that leads, and the decision."""

    system: str
    against: str
    lead: str
    decision: Decision
    differences: Mapping[str, Difference]


METRIC_NAMES: Mapping[str, tuple[str, str]] = {
    "macro_f1": ("macro F1", "宏平均 F1"),
    "accuracy": ("accuracy", "准确率"),
    "micro_f1": ("micro F1", "微平均 F1"),
    "r2": ("variance explained", "解释方差"),
    "entity_f1": ("entity F1", "实体 F1"),
    "token_f1": ("answer F1", "答案 F1"),
    "exact_match": ("exact match", "完全匹配"),
    "mae": ("mean absolute error", "平均绝对误差"),
    "mse": ("mean squared error", "均方误差"),
    "spearman": ("Spearman", "Spearman 相关"),
    "kappa": ("quadratic kappa", "二次加权 kappa"),
    "entity_precision": ("entity precision", "实体精确率"),
    "entity_recall": ("entity recall", "实体召回率"),
    "macro_precision": ("macro precision", "宏平均精确率"),
    "macro_recall": ("macro recall", "宏平均召回率"),
    "auroc": ("AUROC", "AUROC"),
    "ece": ("calibration error", "校准误差"),
    "nats_per_row": ("nats per row", "每样本奈特数"),
    "preference_accuracy": ("preference accuracy", "偏好准确率"),
    "preference_margin": ("preference margin in nats", "偏好差距（奈特）"),
    "nats_per_pair": ("nats per pair", "每对奈特数"),
    "tool_name": ("right tool", "工具正确率"),
    "tool_arguments": ("right call", "调用完全正确率"),
    "ndcg_at_10": ("nDCG@10", "nDCG@10"),
    "mrr_at_10": ("MRR@10", "MRR@10"),
    "recall_at_1": ("recall@1", "召回率@1"),
    "recall_at_10": ("recall@10", "召回率@10"),
    "recall_at_100": ("recall@100", "召回率@100"),
    "bits_per_byte": ("bits per byte", "每字节比特数"),
    "bits_per_masked_byte": ("bits per masked byte", "每遮盖字节比特数"),
    "bleu": ("BLEU", "BLEU"),
    "chrf": ("chrF", "chrF"),
    "rouge_1": ("ROUGE-1", "ROUGE-1"),
    "rouge_2": ("ROUGE-2", "ROUGE-2"),
    "rouge_l": ("ROUGE-L", "ROUGE-L"),
    "exact_stop": ("exact stop rate", "正常结束率"),
    "exact_text": ("exact texts", "完全一致率"),
    "placeholders_kept": ("placeholders kept", "占位符保留率"),
    "length_ratio": ("length ratio", "长度比"),
    "num_tokens": ("mean length in tokens", "平均长度（词元）"),
    "num_characters": ("mean length in characters", "平均长度（字符）"),
}
LEADS = (
    *("entity_f1", "micro_f1", "r2", "token_f1", "macro_f1", "ndcg_at_10", "spearman"),
    *("preference_accuracy", "chrf", "bits_per_byte", "bits_per_masked_byte"),
)
_SYSTEMS: Mapping[str, tuple[str, str]] = {
    "tuned": ("the tuned model", "微调后的模型"),
    "base": ("the base model", "基座模型"),
    "nearest": ("the nearest-neighbour answer", "最近邻答案"),
    "unigram": ("word frequency", "词频"),
    "tfidf": ("TF-IDF with logistic regression", "TF-IDF 加逻辑回归"),
    "neighbours": ("the nearest training texts by the base's vectors", "按基座向量最近的训练文本"),
    "keywords": ("rules of keywords", "关键词规则"),
    "copy": ("copying the source", "照抄原文"),
    "words": ("word by word", "逐词翻译"),
    "lead": ("the first sentences", "开头几句"),
    "extract": ("the most central sentences", "最核心的几句"),
    "mean": ("always saying the mean score", "总是回答平均分"),
    "ridge": ("TF-IDF with ridge regression", "TF-IDF 加岭回归"),
    "dictionary": ("a dictionary of the training names", "训练集名称词典"),
    "linear_tags": ("a linear model of words and their neighbours", "基于词及其邻词的线性模型"),
    "overlap": ("the sentence that shares most words", "共有词最多的句子"),
    "none": ("never answering", "从不作答"),
    "probe": ("a linear model on the base's vectors", "基座向量上的线性模型"),
    "prompted": ("a prompted chat model", "仅用提示的对话模型"),
    "other": ("the other run's model", "另一次运行的模型"),
    "int8": ("the tuned model in eight bits", "八位的微调模型"),
    "base_vectors": ("the base's own vectors", "基座自身的向量"),
    "bm25": ("BM25", "BM25"),
    "tfidf_cosine": ("the cosine of TF-IDF", "TF-IDF 余弦"),
    "random": ("a random order", "随机顺序"),
    "majority": ("always saying the most frequent label", "总是回答最常见的标签"),
}
_SENTENCES: Mapping[str, tuple[str, str]] = {
    "better": ("{system} is better than {against}: {lead}.", "{system}优于{against}：{lead}。"),
    "worse": ("{system} is worse than {against}: {lead}.", "{system}不如{against}：{lead}。"),
    "not_shown": (
        "{system} is not shown to be better than {against}: {lead}; the interval includes zero.",
        "未能证明{system}优于{against}：{lead}；区间包含零。",
    ),
    "mixed": (
        "{system} is not shown to be better than {against}: {lead}, but {worse} got worse.",
        "未能证明{system}优于{against}：{lead}，但{worse}变差。",
    ),
    "few": (
        "{system} is not shown to be better than {against}: only {num} independent test rows, and fewer than {minimum} "
        "cannot tell ({lead}).",
        "未能证明{system}优于{against}：只有 {num} 个独立的测试样本，少于 {minimum} 个无法判断（{lead}）。",
    ),
    "lead": (
        "{metric} {system_value} against {against_value}, a difference of {gap} (95 % interval {interval})",
        "{metric} 为 {system_value}，对方为 {against_value}，相差 {gap}（95 % 区间 {interval}）",
    ),
    "also_better": (" Also better on {metrics}.", "{metrics}也更好。"),
    "but_better": (" Better on {metrics}.", "{metrics}更好。"),
    "also_worse": (" Also worse on {metrics}.", "{metrics}也更差。"),
    "but_worse": (" Worse on {metrics}.", "{metrics}更差。"),
    "also_not_shown": (" No difference is shown on {metrics}.", "{metrics}未见差别。"),
    "but_not_shown": (" No difference is shown on {metrics}.", "{metrics}未见差别。"),
}

_SAMPLES_HOW = (
    "The {rows} test rows were sorted by the chrF of {system} (equal ones by row id) and cut into {num} equal parts; "
    "the middle row of each part is shown, from the lowest chrF to the highest. Nobody picked them.",
    "将 {rows} 个测试样本按{system}的 chrF 排序（相同者按样本编号），分成 {num} 等份，"
    "各取中间一个，由低到高列出；未经挑选。",
)


def compare(system: str, against: str, differences: Mapping[str, Difference]) -> Comparison:
    """A comparison with its decision; `differences` holds at least one judged metric."""
    lead = next(name for name in LEADS if name in differences)
    decision = differences[lead].decision
    if decision == "better" and _judged(differences, lead, "worse"):
        decision = "not_shown"
    return Comparison(system, against, lead, decision, differences)


def sentence(comparison: Comparison, language: Language = "en") -> str:
    """The decision in words, with the leading metric's figures; what the other judged metrics say follows."""
    lead = comparison.differences[comparison.lead]
    words = {
        "system": system_name(comparison.system, language),
        "against": system_name(comparison.against, language),
        "lead": _lead_words(comparison.lead, lead, language),
        "worse": _names(_judged(comparison.differences, comparison.lead, "worse"), language),
        "num": lead.gap.num_units,
        "minimum": MIN_UNITS,
    }
    text = _say(_case(comparison, lead), language).format(**words)
    text = text[0].upper() + text[1:] + _others(comparison, lead, language)
    return spaced(text) if language == "zh" else text


def system_name(name: str, language: Language = "en") -> str:
    """A system's name in a sentence; one that we do not know stands as it is."""
    return _SYSTEMS[name][language == "zh"] if name in _SYSTEMS else name


def samples_how(system: str, num: int, num_rows: int, language: Language = "en") -> str:
    """How the sample rows were chosen, in words; "" where there are none."""
    if num == 0:
        return ""
    name = system_name(system, language)
    return _SAMPLES_HOW[language == "zh"].format(rows=num_rows, system=name, num=num)


def _case(comparison: Comparison, lead: Difference) -> str:
    if lead.gap.num_units < MIN_UNITS:
        return "few"
    return "mixed" if comparison.decision != lead.decision else comparison.decision


def _others(comparison: Comparison, lead: Difference, language: Language) -> str:
    """One short sentence per decision of the other judged metrics; nothing where there are too few rows to tell."""
    if lead.gap.num_units < MIN_UNITS:
        return ""
    named = comparison.decision != lead.decision  # the mixed sentence has named those that got worse
    text = ""
    for decision in ("better", "not_shown", "worse"):
        names = _names(_judged(comparison.differences, comparison.lead, decision), language)
        if names and not (named and decision == "worse"):
            text += _say(f"{'also' if decision == lead.decision else 'but'}_{decision}", language).format(metrics=names)
    return text


def _judged(differences: Mapping[str, Difference], lead: str, decision: str) -> list[str]:
    others = [metric.name for metric in METRICS if metric.judged and metric.name in differences and metric.name != lead]
    return [name for name in others if differences[name].decision == decision]


def _names(metrics: list[str], language: Language) -> str:
    joint = "和" if language == "zh" else " and "
    return joint.join(METRIC_NAMES[name][language == "zh"] for name in metrics)


def _lead_words(metric: str, lead: Difference, language: Language) -> str:
    return _say("lead", language).format(
        metric=METRIC_NAMES[metric][language == "zh"],
        system_value=numbers.metric_value(metric, lead.system_value),
        against_value=numbers.metric_value(metric, lead.against_value),
        gap=numbers.metric_value(metric, lead.gap.value, signed=True),
        interval=numbers.metric_interval(metric, lead.gap, signed=True),
    )


def spaced(text: str) -> str:
    """A thin habit of Chinese typesetting: a space between Han and Latin letters or figures."""
    return re.sub(r"(?<=[A-Za-z0-9%])(?=[\u4e00-\u9fff])|(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9])", " ", text)


def _say(key: str, language: Language) -> str:
    return _SENTENCES[key][language == "zh"]
