"""The words of the page about a search, in English and Chinese."""

from __future__ import annotations

from setsail.base.page.words import Language, Phrases, Words


def words_in(language: Language) -> Words:
    """The page's words in one language."""
    return Words(language, PHRASES, NAMES)


PHRASES: Phrases = {
    "kind": ("The search for a better recipe", "寻找更好的配方"),
    "contents": ("Contents", "目录"),
    "subtitle": (
        "What was tried, what it came to, and which settings mattered. Scores are of the validation rows; less is "
        "better.",
        "试过什么、结果如何、哪些设置重要。得分取自验证样本，越低越好。",
    ),
    "created": (
        "The whole record is in tune.json, the best recipe in best.yaml.",
        "完整记录见 tune.json，最佳配方见 best.yaml。",
    ),
    "verdict": (
        "Trial {number} is the best of {num}: {measure} {score}, with {settings}.",
        "{num} 次试验中第 {number} 号最好：{measure} {score}，设置为 {settings}。",
    ),
    "verdict_own": (
        "Of {num} trials none was better than the recipe as it was: {measure} {score}.",
        "{num} 次试验中没有一次优于原配方：{measure} {score}。",
    ),
    "verdict_none": ("No trial has come to a score yet.", "还没有试验得出分数。"),
    "linear_best": (
        "The linear model (TF-IDF with logistic regression) is the best and costs seconds; best.yaml is the best "
        "recipe of those that train a network.",
        "线性模型（TF-IDF 加逻辑回归）最好，而且只需几秒；best.yaml 是训练神经网络的配方中最好的一个。",
    ),
    "key_best": ("Best score", "最佳得分"),
    "key_trials": ("Trials", "试验次数"),
    "key_trials_note": (
        "{pruned} ended early, {failed} failed, {waiting} wait",
        "提前结束 {pruned}，失败 {failed}，等待 {waiting}",
    ),
    "key_time": ("Time", "用时"),
    "key_time_note": ("of {budget}", "预算 {budget}"),
    "key_ended": ("Ended", "结束原因"),
    "curve": ("The best against time", "最佳得分随时间的变化"),
    "curve_title": ("Best {measure} so far", "目前最佳 {measure}"),
    "curve_caption": (
        "Each dot is a trial that was better than all before it; seconds of the search.",
        "每个点是一次优于此前全部试验的试验；横轴为搜索的秒数。",
    ),
    "seconds": ("seconds of the search", "搜索秒数"),
    "importance": ("Which settings mattered", "哪些设置重要"),
    "importance_how": (
        "How much of what sets the better trials apart each setting explains (PED-ANOVA, of the trials with a score). "
        "With few trials this is a hint, no more.",
        "每个设置在多大程度上解释了较好试验的不同之处（PED-ANOVA，取自有得分的试验）。试验次数少时仅供参考。",
    ),
    "setting": ("Setting", "设置"),
    "share": ("Share", "占比"),
    "test": ("A final test on rows that the search never saw", "在搜索从未见过的样本上做最终测试"),
    "test_how": (
        "The best alone, {what}, scored once on the test rows, with 95 % intervals.",
        "仅对最佳者（{what}）在测试样本上评分一次，附 95 % 区间。",
    ),
    "metric": ("Metric", "指标"),
    "value": ("Value", "数值"),
    "interval": ("95 % interval", "95 % 区间"),
    "trials": ("Every trial", "全部试验"),
    "number": ("Trial", "试验"),
    "state": ("State", "状态"),
    "took": ("Took", "用时"),
    "settings": ("Settings", "设置值"),
    "why": ("Note", "备注"),
    "more_trials": (
        "The best {shown} of {num}; all are in tune.json.",
        "共 {num} 次，列出最好的 {shown} 次；全部见 tune.json。",
    ),
}

NAMES: Phrases = {
    "complete": ("complete", "完成"),
    "pruned": ("ended early", "提前结束"),
    "failed": ("failed", "失败"),
    "waiting": ("waits", "等待"),
    "running": ("running", "运行中"),
    "time": ("the time was over", "时间用尽"),
    "trials": ("all trials were made", "试验次数已满"),
    "nothing fits": ("nothing more fits the time", "剩余时间不够再试一次"),
    "searched through": ("everything was tried", "已全部试过"),
    "stopped": ("it was stopped", "被中止"),
    "nats_per_row": ("nats per row", "每个样本的奈特数"),
    "bits_per_byte": ("bits per byte", "每字节比特数"),
    "bits_per_masked_byte": ("bits per masked byte", "每个被遮字节的比特数"),
}
