"""The words of a report about slices, trust in probabilities and doubtful labels, in English and Chinese."""

from __future__ import annotations

from setsail.base.page.words import Phrases

EXAM_WORDS: Phrases = {
    "evaluation_alone": ("an evaluation on {rows} rows", "在 {rows} 行上的评测"),
    "slices": ("Where it is good and where it is weak", "何处强，何处弱"),
    "slices_weak": (
        "On {num} of these slices the model is shown to be worse than on the whole test: its interval lies below.",
        "在其中 {num} 个切片上，模型被证明不如整体水平：其区间整体更差。",
    ),
    "slices_even": (
        "On no slice is the model shown to be worse than on the whole test. Slices of less than ten rows are left out.",
        "没有切片被证明不如整体水平。少于十行的切片未列出。",
    ),
    "slice": ("Rows", "样本"),
    "slice_language": ("language", "语言"),
    "slice_length": ("characters", "字符数"),
    "slice_source": ("from", "来源"),
    "reliability": (
        "Reliability: how often the model is right (upwards) when it is so sure (rightwards). On the line it is as "
        "sure as it should be, below it too sure; a larger dot is more rows.",
        "可靠性：横轴为模型的把握，纵轴为实际正确率。在对角线上表示把握恰当，在其下方表示过于自信；点越大样本越多。",
    ),
    "sureness": ("probability", "概率"),
    "right_share": ("share right", "正确率"),
    "growth": (
        "Accuracy of TF-IDF by training rows; the last point is the forecast.",
        "TF-IDF 的准确率随训练行数的变化；最后一点为预测。",
    ),
    "doubts": (
        "Training labels in doubt: {num} of {rows} rows. A linear model that did not learn from a row says another "
        "label, and is surer of it than it usually is of that label. Read these before collecting more.",
        "存疑的训练标签：{rows} 行中有 {num} 行。未学过该行的线性模型给出了另一个标签，且把握高于该标签的平均水平。"
        "收集更多数据之前，请先读一读这些。",
    ),
    "place": ("Where", "位置"),
    "about_probe": (
        "Probe: logistic regression on the vectors of the base as it was, which stays as it is.",
        "探针：在原基座的向量上做逻辑回归，基座不变。",
    ),
    "about_other": ("The other run: its model, asked the same rows.", "另一次运行：其模型回答同样的样本。"),
    "about_int8": (
        "In 8 bits: the exported ONNX file, its matrices rounded, run by onnxruntime; what it costs beside the model.",
        "八位：导出的 ONNX 文件，矩阵经过舍入，由 onnxruntime 运行；与原模型并列，看它损失多少。",
    ),
    "about_prompted": (
        "Prompted: a chat model that was given the labels and the text, and nothing else.",
        "提示：仅把标签和文本给对话模型，不做任何训练。",
    ),
}
EXAM_NAMES: Phrases = {
    "probe": ("probe", "探针"),
    "other": ("other run", "另一次运行"),
    "prompted": ("prompted", "提示"),
    "int8": ("in 8 bits", "八位"),
    "onnx": ("ONNX", "ONNX"),
}
