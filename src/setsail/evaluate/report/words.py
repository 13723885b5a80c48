"""The report's own words in English and Chinese; what comes from the data or the recipe is never translated.

Every phrase has both languages (a test keeps it), and a figure enters a phrase only as finished text.
"""

from __future__ import annotations

from setsail.base.page.words import Language, Phrases, Words
from setsail.data.page.words import NAMES
from setsail.evaluate.report.exam_words import EXAM_NAMES, EXAM_WORDS
from setsail.evaluate.report.read_words import READ_NAMES, READ_WORDS


def words_in(language: Language) -> Words:
    """The report's words in one language."""
    return Words(language, PHRASES, KNOWN)


PHRASES: Phrases = {
    "kind": ("Report of a voyage", "航行报告"),
    "contents": ("Contents", "目录"),
    "subtitle": ("From {base}, on {source}", "基座 {base}，数据 {source}"),
    "subtitle_base": ("From {base}", "基座 {base}"),
    "created": ("Written {created}", "生成于 {created}"),
    "no_verdict": ("This voyage was not evaluated.", "本次航行没有评测。"),
    "question": ("Question", "问题"),
    "assistant": ("Assistant", "助手"),
    "reference": ("Reference", "参考答案"),
    # The few figures at the head
    "key_chrf": ("chrF, {system}", "chrF，{system}"),
    "key_f1": ("Macro F1, {system}", "宏平均 F1，{system}"),
    "key_ndcg": ("nDCG@10, {system}", "nDCG@10，{system}"),
    "key_spearman": ("Spearman, {system}", "斯皮尔曼，{system}"),
    "key_accuracy": ("Accuracy, {system}", "准确率，{system}"),
    "key_preference": ("Preference accuracy, {system}", "偏好准确率，{system}"),
    "key_bits": ("Bits per byte, {system}", "每字节比特数，{system}"),
    "key_masked": ("Bits per masked byte, {system}", "每遮盖字节比特数，{system}"),
    "key_against": ("{against} {value}", "{against} {value}"),
    "key_rows": ("Rows learned from", "训练样本"),
    "key_faithful": ("Faithfulness", "一致性检查"),
    "key_faithful_of": ("{passed} of {total}", "{passed} / {total}"),
    "key_faithful_hold": ("checks hold", "项通过"),
    "key_time": ("Time", "用时"),
    "key_time_note": ("all stages", "全部阶段"),
    # Data
    "data": ("What went in", "数据"),
    "data_page": ("All about the rows: data.html", "关于样本的全部细节：data.html"),
    "source": ("Read from {source}.", "读自 {source}。"),
    "waterfall": (
        "Rows left after each step; the fainter end of a bar is what the step took out.",
        "每一步之后剩余的样本；条形末端较淡的部分为该步移除的样本。",
    ),
    "step": ("Step", "步骤"),
    "rows_left": ("Rows left", "剩余"),
    "removed": ("Removed", "移除"),
    "reasons": ("Why. No row is dropped or changed without a reason.", "原因。没有无缘无故丢弃或修改的样本。"),
    "what_happened": ("What happened", "处理"),
    "reason": ("Reason", "原因"),
    "count": ("Number", "数量"),
    "dropped": ("rows dropped", "丢弃的样本"),
    "changed": ("rows changed", "修改的样本"),
    "redacted": ("values masked", "脱敏的内容"),
    "split": ("How the rows were shared out.", "样本的划分。"),
    "split_part": ("Part", "部分"),
    "num_rows": ("Rows", "样本数"),
    "rendered": ("What the model sees", "模型所见"),
    "rendered_how": (
        "Training rows as the model receives them, with every special token. The marked stretches are what it learns "
        "to write, the stop token included; the rest it only reads.",
        "模型实际收到的训练样本，包括所有特殊词元。标出的部分是它要学会写的内容（含结束词元），其余只供阅读。",
    ),
    # Training
    "training": ("Training", "训练"),
    "plan": ("What was announced before the first step, and what came.", "开始前的预告与实际结果。"),
    "plan_said": ("Announced", "预告"),
    "plan_came": ("Came", "实际"),
    "plan_rows": ("Rows", "样本"),
    "plan_tokens": ("Tokens an epoch", "每轮词元数"),
    "plan_supervised": ("Targets: tokens or labels to be foreseen", "学习目标（要预测的词元或标签）"),
    "plan_truncated": ("Rows cut short", "被截断的样本"),
    "plan_steps": ("Steps", "步数"),
    "plan_seconds": ("Time", "时间"),
    "plan_memory": ("Memory", "内存"),
    "plan_core_hours": ("Core-hours", "核时"),
    "truncated": ("Cut short: {rows}.", "被截断的样本：{rows}。"),
    "loss_per_token": ("Training loss, nats per supervised token", "训练损失（每个受监督词元的奈特数）"),
    "loss_per_pair": ("Training loss, nats per pair of answers", "训练损失（每对答案奈特数）"),
    "loss_per_row": ("Training loss, nats per row", "训练损失（每样本奈特数）"),
    "validation": ("Validation, {measure}", "验证集，{measure}"),
    "axis_step": ("step", "步"),
    "curve": (
        "The thin line is each step, the thick line a running mean over {window} steps; dots are the validation rows.",
        "细线为每一步，粗线为 {window} 步滑动平均；圆点为验证集。",
    ),
    "curve_table": ("Some points of the curve.", "曲线上的若干点。"),
    "curve_loss": ("Loss, nats", "损失（奈特）"),
    "curve_rate": ("Learning rate", "学习率"),
    "curve_tokens": ("Tokens", "词元"),
    "learned_samples": (
        "What it made of the recipe's samples as it learned.",
        "训练过程中对配方示例的续写。",
    ),
    "curve_validation": ("Validation, {measure}.", "验证集，{measure}。"),
    # Scores
    "scores": ("How good it is", "效果"),
    "scores_how": (
        "Scored on {rows} held-out rows. Intervals are 95 %, percentile bootstrap, {resamples} resamples of rows.",
        "在 {rows} 个留出样本上评测。区间为 95 %，按样本重采样 {resamples} 次的百分位自助法。",
    ),
    "scores_how_grouped": (
        "Scored on {rows} held-out rows in {groups} groups, each group wholly held out. Intervals are 95 %, percentile "
        "bootstrap, {resamples} resamples of whole groups, because rows of a group are alike.",
        "在 {rows} 个留出样本上评测，分属 {groups} 组，每组整体留出。"
        "同组样本彼此相似，因此区间（95 %）按组重采样 {resamples} 次，用百分位自助法得出。",
    ),
    "clean_test": (
        "None of the {total} test rows stands in train, exactly or nearly (similarity {threshold} or more).",
        "{total} 个测试样本中没有一个与训练集完全或近似重复（相似度不低于 {threshold}）。",
    ),
    "contaminated": (
        "Of {total} test rows, {exact} also stood in train exactly and {near} nearly (similarity {threshold} or more). "
        "They were taken out before any score; {kept} were left.",
        "{total} 个测试样本中，{exact} 个与训练集完全重复，{near} 个近似重复（相似度不低于 {threshold}）。"
        "评分前已全部移除，剩余 {kept} 个。",
    ),
    "scores_table": ("↑ higher is better, ↓ lower is better.", "↑ 越高越好，↓ 越低越好。"),
    "metric": ("Metric", "指标"),
    "who": ("System", "系统"),
    "value": ("Value", "数值"),
    "interval": ("95 % interval", "95 % 区间"),
    "differences": (
        "Difference {pair}, paired row by row. It is shown when its whole interval lies on one side of zero.",
        "差值：{pair}，逐样本配对。整个区间位于零的一侧时，差别才算成立。",
    ),
    "difference": ("Difference", "差值"),
    "decision": ("Finding", "结论"),
    "pair": ("{system} − {against}", "{system} − {against}"),
    "better": ("better", "更好"),
    "worse": ("worse", "更差"),
    "not_shown": ("not shown", "未证明"),
    "described": ("–", "–"),
    "about_preference_accuracy": (
        "Preference accuracy: pairs of which the model gives the chosen answer the higher probability per token; one "
        "half is chance.",
        "偏好准确率：按每词元平均，模型赋予所选答案更高概率的答案对所占比例；随机为二分之一。",
    ),
    "about_preference_margin": (
        "Preference margin: log probability of the chosen answer minus that of the rejected one, in nats. The "
        "difference to the base is what training has moved.",
        "偏好差距：所选答案与被拒绝答案的对数概率之差（奈特）。与基座的差值即训练带来的变化。",
    ),
    "about_tool_arguments": (
        "Right tool and right call, of the rows whose reference calls a tool: answers that call the same tools, and "
        "those whose calls also have exactly the same arguments.",
        "工具正确率与调用完全正确率，只计参考答案调用工具的样本：调用相同工具的答案所占比例，以及参数也完全一致者所占比例。",
    ),
    "about_bits_per_byte": (
        "Bits per byte: bits the model needs for the reference answers and stop tokens, per UTF-8 byte of answer.",
        "每字节比特数：模型编码参考答案及其结束词元所需的比特数，除以答案的 UTF-8 字节数。",
    ),
    "about_bits_per_masked_byte": (
        "Bits per masked byte: bits the model needs for the hidden part of each row, given the rest of it on both "
        "sides, per UTF-8 byte of what is hidden; not to be compared with bits per byte, nor between shares hidden.",
        "每遮盖字节比特数：给定两侧其余文本，模型编码每个样本被遮盖部分所需的比特数，除以被遮盖部分的 UTF-8 字节数；"
        "不可与每字节比特数比较，也不可在不同遮盖比例之间比较。",
    ),
    "about_unigram": (
        "Word frequency: each hidden token priced by its share in the training text, without any model.",
        "词频：按训练文本中的出现比例为每个被遮盖词元定价，不用任何模型。",
    ),
    "about_chrf": (
        "chrF: overlap of character n-grams with the reference, 0 to 100, mean over rows "
        "(over all rows at once: {corpus}).",
        "chrF：与参考答案的字符 n 元重合度，0 到 100，取各样本平均（全部样本合并计算：{corpus}）。",
    ),
    "about_bleu": (
        "BLEU: n-grams of up to four words that stand in the reference too, over all rows at once, 0 to 100 "
        "(sacrebleu; Chinese by characters).",
        "BLEU：与参考译文共有的一至四元词组，全部样本合并计算，0 到 100（sacrebleu；中文按字）。",
    ),
    "about_rouge_1": (
        "ROUGE-1 and ROUGE-2: F1 of the words and of the pairs of words shared with the reference, 0 to 1.",
        "ROUGE-1 与 ROUGE-2：与参考共有的词及相邻词对的 F1，0 到 1。",
    ),
    "about_exact_text": (
        "Exact texts: answers that are the reference, but for white space.",
        "完全一致率：除空白外与参考完全相同的答案所占比例。",
    ),
    "about_placeholders_kept": (
        "Placeholders kept: of the formats, tags, addresses and numbers that source and reference share, how many "
        "stand in the answer. Without them a program shows nonsense.",
        "占位符保留率：原文与参考共有的格式符、标签、网址和数字中，出现在答案里的比例。缺了它们，程序就会显示乱码。",
    ),
    "about_length_ratio": (
        "Length ratio: characters of all answers over those of all references.",
        "长度比：全部答案的字符数除以全部参考的字符数。",
    ),
    "about_copy": (
        "Copying: the source itself as the answer.",
        "照抄：直接以原文作为答案。",
    ),
    "about_words": (
        "Word by word: each word by the one that goes with it in training (IBM model 1); unknown ones stay.",
        "逐词翻译：每个词换成训练集中与之最常对应的词（IBM 模型 1），未知词保留原样。",
    ),
    "about_lead": (
        "First sentences: as many from the beginning of the source as validate best.",
        "开头几句：取原文开头若干句，句数按验证集选定。",
    ),
    "about_extract": (
        "Central sentences: those of the source that are most like the others (TextRank over TF-IDF).",
        "核心句：原文中与其他句子最相似的几句（基于 TF-IDF 的 TextRank）。",
    ),
    "about_rouge_l": (
        "ROUGE-L: F1 of the longest common subsequence, 0 to 1, over words; over characters in Chinese.",
        "ROUGE-L：最长公共子序列的 F1，0 到 1；英文按词，中文按字。",
    ),
    "about_exact_stop": (
        "Exact stop rate: answers that the model ended itself before the limit.",
        "正常结束率：模型在达到上限前自行结束的答案所占比例。",
    ),
    "about_accuracy": (
        "Accuracy: rows with the right label. Macro F1, precision and recall are means over labels, each counting "
        "alike however rare it is.",
        "准确率：标签正确的样本所占比例。宏平均 F1、精确率、召回率对各标签取平均，无论多少，每个标签权重相同。",
    ),
    "about_auroc": (
        "AUROC: how often a row of a label gets a higher probability of it than another row, mean over labels; 0.5 "
        "is chance.",
        "AUROC：属于某标签的样本得到的该标签概率高于其他样本的比例，对各标签取平均；0.5 为随机。",
    ),
    "about_ece": (
        "Calibration error: how far the probability of what was said lies from the share that is right, in the mean "
        "over 15 bins; 0 % means that probabilities can be taken at their word.",
        "校准误差：预测概率与实际正确比例之差，按 15 个区间取平均；0 % 表示概率可以照字面理解。",
    ),
    "about_nats_per_row": (
        "Nats per row: −ln of the probability given to the right label. It tells whether the probabilities can be "
        "trusted.",
        "每样本奈特数：赋予正确标签的概率的负自然对数，反映概率是否可信。",
    ),
    "about_tfidf": (
        "TF-IDF with logistic regression: words and character n-grams, trained on the same rows in seconds. What does "
        "not beat it is not worth an encoder.",
        "TF-IDF 加逻辑回归：以词和字符 n 元为特征，在相同样本上几秒即可训练。不能胜过它的编码器不值得训练。",
    ),
    "about_majority": (
        "Majority: the label that stands most often in training, for every text.",
        "最常见标签：对所有文本都回答训练集中最常见的标签。",
    ),
    "about_keywords": (
        "Keywords: for each label up to twenty words that betray it; a text is of the label of which it holds most.",
        "关键词：每个标签至多二十个最能代表它的词；文本归于命中最多的标签。",
    ),
    "about_neighbours": (
        "Nearest texts: the labels of the most similar training texts, by the vectors of the base before any training.",
        "最近文本：采用训练集中最相似文本的标签，相似度由未经训练的基座向量得出。",
    ),
    **READ_WORDS,
    **EXAM_WORDS,
    "about_ndcg_at_10": (
        "nDCG@10: how high the relevant texts stand among the first ten, higher grades and places counting more; 1 is "
        "the best order there is.",
        "nDCG@10：相关文本在前十名中的位置，等级越高、位置越前，权重越大；1 为最佳顺序。",
    ),
    "about_mrr_at_10": (
        "MRR@10: one over the rank of the first relevant text, 0 where none is among the first ten, mean over queries.",
        "MRR@10：首个相关文本名次的倒数，前十名中没有则为 0，对各查询取平均。",
    ),
    "about_recall_at_1": (
        "Recall: the share of a query's relevant texts among the first 1, 10 or 100, mean over queries.",
        "召回率：查询的相关文本出现在前 1、10、100 名中的比例，对各查询取平均。",
    ),
    "about_spearman": (
        "Spearman's correlation: how far the order of the cosines is that of the scores; 1 is the same order, 0 none.",
        "斯皮尔曼相关系数：余弦的顺序与评分顺序的一致程度；1 为完全一致，0 为无关。",
    ),
    "about_bm25": (
        "BM25: the words that query and text share, rare ones counting more; what every search engine begins with.",
        "BM25：查询与文本共有的词，越罕见权重越大；各类搜索引擎的起点。",
    ),
    "about_tfidf_cosine": (
        "TF-IDF cosine: words and character n-grams that query and text share, without any model.",
        "TF-IDF 余弦：查询与文本共有的词和字符 n 元，不用任何模型。",
    ),
    "about_base_vectors": (
        "Base vectors: the cosine of the base's vectors before any training.",
        "基座向量：未经训练的基座所给向量的余弦。",
    ),
    "about_random": ("Random: an order by lot.", "随机：抽签决定的顺序。"),
    # Searches
    "missed": ("What was not found first", "未排在首位的查询"),
    "missed_how": (
        "Queries for which another text stands first, those first whose own text stands lowest: often the other text "
        "answers as well, and the pair is what is missing from the data.",
        "首位是其他文本的查询，按应得文本的名次从低到高排列：往往那条文本同样能回答，只是数据中缺少这一对。",
    ),
    "query": ("Query", "查询"),
    "wanted": ("Wanted", "应得文本"),
    "first": ("Stands first", "首位文本"),
    "rank": ("Rank of the wanted", "应得文本的名次"),
    # Forgetting
    "forgetting": ("What was forgotten", "忘掉了什么"),
    "guard_how": (
        "A fixed battery (version {version}) of general texts, instructions and sums, none of them from your rows, "
        "before and after tuning, paired item by item. A skill has dropped when its whole 95 % interval is a loss; a "
        "rise of bits per byte below {least} of the base’s counts as none.",
        "固定题库（版本 {version}）包含通用文本、指令与算术，均不取自你的数据；微调前后逐题配对比较。"
        "整个 95 % 区间均为损失时，才算能力下降；每字节比特数的升幅不足基座的 {least} 时不计。",
    ),
    "guard_lost": (
        "Questions that the base answers rightly and the tuned model does not.",
        "基座答对而微调后答错的题目。",
    ),
    "skill": ("Skill", "能力"),
    "guard_base": ("Before", "微调前"),
    "guard_tuned": ("After", "微调后"),
    "guard_dropped": ("✗ dropped", "✗ 下降"),
    "guard_held": ("not shown to have dropped", "未证明下降"),
    "guard_gained": ("gained", "提高"),
    "guard_cannot": ("the base cannot do it either", "基座本来也不会"),
    # Ladder
    "ladder": ("Where to stop", "停在哪一级"),
    "ladder_how": (
        "From the cheapest to the dearest to make. Seconds are those of one core; a rung is enough when its difference "
        "to the best could be nothing.",
        "按制作成本由低到高排列。秒数按单核计；与最好者的差距可能为零时，这一级就够用。",
    ),
    "ladder_seconds": ("To make, core-seconds", "制作（核秒）"),
    "ladder_money": ("To make, money", "制作（费用）"),
    "ladder_thousand": ("A thousand answers, core-seconds", "每千次回答（核秒）"),
    "ladder_gap": ("{metric} to the best", "与最好者的{metric}之差"),
    "forecast": ("{rows}, forecast", "{rows}（预测）"),
    "accuracy": ("Accuracy", "准确率"),
    "more_how": (
        "TF-IDF learned from nested parts of the training rows; the forecast draws the power law of its error on. Its "
        "interval is that of the test rows, not of the law.",
        "TF-IDF 在训练行的嵌套子集上学习；预测沿误差的幂律外推。区间只反映测试样本，不反映该规律本身。",
    ),
    "best": ("best", "最好"),
    "not_worse": ("not shown to be worse", "未证明更差"),
    # Labels
    "classes": ("Label by label", "逐个标签"),
    "classes_table": (
        "How well {system} tells each label, with 95 % intervals.",
        "{system}对每个标签的识别效果，括号内为 95 % 区间。",
    ),
    "label": ("Label", "标签"),
    "precision": ("Precision", "精确率"),
    "recall": ("Recall", "召回率"),
    "f1": ("F1", "F1"),
    "matrix": (
        "Confusion: rows are the true labels, columns what was said.",
        "混淆矩阵：行为真实标签，列为预测标签。",
    ),
    "confusions": ("The most frequent confusions.", "最常见的混淆。"),
    "said": ("Said", "预测"),
    "paired": (
        "McNemar’s exact test: rows that one of two alone has right, and how likely so uneven a share is by chance.",
        "McNemar 精确检验：仅其中一方正确的样本数，以及纯属偶然出现如此差距的概率。",
    ),
    "only": ("Right alone: {system}", "仅{system}正确"),
    "against_short": ("Against", "对比"),
    "p_value": ("p-value", "p 值"),
    "mistakes": (
        "Mistakes to read, the surest first: often it is the label that is wrong.",
        "值得阅读的错误，按模型的把握从高到低排列：往往是标注有误。",
    ),
    "text": ("Text", "文本"),
    "probability": ("Probability", "概率"),
    "about_nearest": (
        "Nearest neighbour: the answer of the most similar training question (TF-IDF), without any model.",
        "最近邻：直接采用最相似训练问题（TF-IDF）的答案，不用任何模型。",
    ),
    "samples": ("Answers to read", "答案示例"),
    "sample": ("Row {row_id}", "样本 {row_id}"),
    "sample_note": ("chrF {chrf}", "chrF {chrf}"),
    "sample_cut": ("chrF {chrf}, cut at the limit", "chrF {chrf}，达到上限被截断"),
    "empty": ("(nothing)", "（空）"),
    # Faithfulness, files, origins
    "faithfulness": ("Is what is served what was trained", "部署的就是训练的吗"),
    "faithful": ("All {total} checks hold.", "全部 {total} 项检查通过。"),
    "unfaithful": (
        "{failed} of {total} checks fail. The first stage that differs: {stage}.",
        "{total} 项检查中有 {failed} 项未通过。最先出现差异的阶段：{stage}。",
    ),
    "stage": ("Stage", "阶段"),
    "check": ("Check", "检查"),
    "allowed": ("Allowed", "允许"),
    "result": ("Result", "结果"),
    "holds": ("✓ holds", "✓ 通过"),
    "fails": ("✗ fails", "✗ 未通过"),
    "files": ("What is left behind", "产出文件"),
    "file": ("File", "文件"),
    "size": ("Size", "大小"),
    "origins": ("Times, versions, licences", "用时、版本与许可"),
    "times": ("Time of each stage.", "各阶段用时。"),
    "seconds": ("Time", "用时"),
    "was_there": ("already there", "已有结果"),
    "total": ("Together", "合计"),
    "machine": ("Machine.", "机器。"),
    "versions": ("Versions.", "版本。"),
    "thing": ("What", "项目"),
    "what_value": ("Value", "内容"),
    "package": ("Package", "软件包"),
    "version": ("Version", "版本"),
    "licences": ("Licences of data and model.", "数据与模型的许可。"),
    "licence": ("Licence", "许可"),
    "licence_source": ("From", "来源"),
    "recipe": ("Recipe", "配方"),
    "recipe_how": ("Resolved: with every value that was derived.", "完整配方，包含所有推导出的值。"),
    "next": ("What to type next", "接下来"),
    "command": ("Command", "命令"),
    "meaning": ("What it does", "作用"),
}

KNOWN: Phrases = {
    **NAMES,
    "base": ("base", "基座"),
    "tuned": ("tuned", "微调"),
    "nearest": ("nearest neighbour", "最近邻"),
    "unigram": ("word frequency", "词频"),
    "tfidf": ("TF-IDF", "TF-IDF"),
    "majority": ("majority", "最常见标签"),
    "copy": ("copy", "照抄"),
    "words": ("word by word", "逐词翻译"),
    "lead": ("first sentences", "开头几句"),
    "extract": ("central sentences", "核心句"),
    "base_vectors": ("base vectors", "基座向量"),
    "bm25": ("BM25", "BM25"),
    "tfidf_cosine": ("TF-IDF cosine", "TF-IDF 余弦"),
    "random": ("random", "随机"),
    "keywords": ("keywords", "关键词"),
    "neighbours": ("nearest texts", "最近文本"),
    **READ_NAMES,
    **EXAM_NAMES,
    # Stages
    "data": ("prepare", "数据准备"),
    "finetune": ("fine-tune", "微调"),
    "evaluate": ("evaluate", "评测"),
    "merged": ("merged", "合并"),
    "export": ("export", "导出"),
    "check": ("check", "检查"),
    "report": ("report", "报告"),
}
