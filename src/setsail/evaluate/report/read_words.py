"""The words of a report about what is said of texts other than one label: metrics, rungs, in English and Chinese."""

from __future__ import annotations

from setsail.base.page.words import Phrases

READ_WORDS: Phrases = {
    "about_micro_f1": (
        "Micro F1: over all labels of all texts together; macro F1 is the mean over labels.",
        "微平均 F1：所有文本的所有标签合并计算；宏平均 F1 为各标签的平均。",
    ),
    "about_r2": (
        "Variance explained: 100 % is every score right, 0 % no better than the test's own mean.",
        "解释方差：100 % 表示分数全部正确，0 % 表示不比测试集均值更好。",
    ),
    "about_mae": (
        "Mean absolute error: how far a score is off, in the scores' own unit. Spearman's correlation sees the order "
        "alone; quadratic kappa is the agreement of whole scores beyond chance, far misses counting most.",
        "平均绝对误差：分数平均偏差，单位与分数相同。Spearman 相关只看次序；"
        "二次加权 kappa 为整数分数扣除偶然后的一致程度，"
        "偏差越大扣得越多。",
    ),
    "about_entity_f1": (
        "Entity F1, precision, recall: a marked part counts as found when begin, end and kind are all right.",
        "实体 F1、精确率、召回率：起点、终点和类别全部正确才算找到。",
    ),
    "about_token_f1": (
        "Answer F1: words that the answer shares with the best of the true ones; characters in Chinese. No answer is "
        "right where there is none.",
        "答案 F1：与最接近的正确答案共有的词；中文按字。没有答案的问题，不作答才算对。",
    ),
    "about_exact_match": (
        "Exact match: nothing missing and nothing too much; of answers, case, punctuation and English articles aside.",
        "完全匹配：不多也不少；对答案而言忽略大小写、标点和英文冠词。",
    ),
    "about_mean": (
        "Mean: the mean of the training scores, for every text.",
        "平均分：对所有文本都回答训练集的平均分。",
    ),
    "about_ridge": (
        "Ridge: TF-IDF of words and character n-grams with ridge regression.",
        "岭回归：词与字符 n 元的 TF-IDF 加岭回归。",
    ),
    "about_dictionary": (
        "Dictionary: what training marked is marked wherever it stands.",
        "词典：训练集中标注过的名称，出现即标注。",
    ),
    "about_linear_tags": (
        "Linear tags: a tag for each word from the words around it, by a linear model.",
        "线性标注：由前后词经线性模型决定每个词的标记。",
    ),
    "about_overlap": (
        "Overlap: the sentence of the text that shares most with the question.",
        "重合：文中与问题共有词最多的句子。",
    ),
    "about_none": ("Never answering: right where there is no answer.", "从不作答：仅在没有答案时正确。"),
}
READ_NAMES: Phrases = {
    "mean": ("mean", "平均分"),
    "ridge": ("ridge", "岭回归"),
    "dictionary": ("dictionary", "词典"),
    "linear_tags": ("linear tags", "线性标注"),
    "overlap": ("overlap", "重合"),
    "none": ("no answer", "不作答"),
}
