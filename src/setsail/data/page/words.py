"""The page's own words in English and Chinese, and those for the names of steps and reasons.

What preparing says in whole sentences is translated in `said.py`. A test keeps that every name has both languages.
"""

from __future__ import annotations

from setsail.base.page.words import Language, Phrases, Words
from setsail.data.summary import REASONS


def words_in(language: Language) -> Words:
    """The page's words in one language."""
    return Words(language, PHRASES, NAMES)


PHRASES: Phrases = {
    "kind": ("The data before training", "训练前的数据"),
    "contents": ("Contents", "目录"),
    "subtitle": (
        "Read before you train: what the rows are, and what became of each.",
        "训练之前请先看：有哪些样本，每个样本去了哪里。",
    ),
    "verdict": (
        "Of {read} rows read, {kept} are used and {dropped} were dropped, each for a counted reason.",
        "读取 {read} 个样本，采用 {kept} 个，丢弃 {dropped} 个，每个都有记录在案的原因。",
    ),
    "verdict_all": ("All {read} rows read are used.", "读取的 {read} 个样本全部采用。"),
    "verdict_made": ("{made} more were made from training rows.", "另由训练样本生成 {made} 个。"),
    "key_train": ("Rows to train on", "训练样本"),
    "key_held_out": ("validation {validation}, test {test}", "验证 {validation}，测试 {test}"),
    "key_characters": ("Characters to train on", "训练字符数"),
    "key_median": ("median {median} a row", "每个样本的中位数 {median}"),
    "key_dropped": ("Rows dropped", "丢弃的样本"),
    "key_of": ("{share} of what was read", "占读取的 {share}"),
    "key_masked": ("Values masked", "脱敏内容"),
    "key_masked_rows": ("in {rows} rows", "分布在 {rows} 个样本"),
    "key_licence": ("Licence of the source", "来源许可"),
    "not_stated": ("not stated", "未说明"),
    "cut_short": (
        "Where a text is cut, … (+n) says how many more characters there are. Characters that cannot be seen stand as "
        "⟨U+…⟩. Personal data that was found stands as [EMAIL_1] and the like.",
        "文本被截断处以 … (+n) 标明还有多少字符；不可见字符写作 ⟨U+…⟩；查出的个人信息写作 [EMAIL_1] 等占位符。",
    ),
    # What preparing said
    "findings": ("What to know first", "先看这里"),
    # The source
    "source": ("The source", "来源"),
    "licence": ("Licence: {licence}, stated in {where}.", "许可：{licence}，见 {where}。"),
    "no_licence": (
        "Licence: not stated by the source. Ask before you publish what is trained on it.",
        "许可：来源未说明。公开发布用它训练的模型之前，请先确认。",
    ),
    "fingerprint": ("Fingerprint of what was read: {fingerprint}.", "所读内容的指纹：{fingerprint}。"),
    "files": ("How each file was understood.", "每个文件如何被识别。"),
    "files_first": (
        "How each file was understood, the first {shown} of {all}.",
        "文件如何被识别（共 {all} 个，列出前 {shown} 个）。",
    ),
    "kinds": ("All files, by how they were understood.", "全部文件，按识别方式统计。"),
    "file": ("File", "文件"),
    "container": ("Container", "格式"),
    "encoding": ("Encoding", "编码"),
    "form": ("Taken for", "识别为"),
    "records": ("Records", "记录数"),
    "columns": ("Columns", "列"),
    "column_from": ("{name} from {column}", "{name} 取自 {column}"),
    "unused": ("not used: {columns}", "未使用：{columns}"),
    "more": ("and {count} more", "另有 {count} 个"),
    "num_files": ("Files", "文件数"),
    # The waterfall
    "waterfall": ("What was left after each step", "每一步之后剩下多少"),
    "waterfall_how": (
        "Rows left after each step; the fainter end of a bar is what the step took out.",
        "每一步之后剩余的样本；条形末端较淡的部分为该步移除的样本。",
    ),
    "step": ("Step", "步骤"),
    "rows_left": ("Rows left", "剩余"),
    "removed": ("Removed", "移除"),
    "reasons": (
        "Why rows were dropped, and where the first of them stood; all of them stand in dropped.parquet.",
        "样本被丢弃的原因及最先出现的位置；全部记录在 dropped.parquet 中。",
    ),
    "reason": ("Reason", "原因"),
    "num_rows": ("Rows", "样本数"),
    "first": ("First at", "最先见于"),
    # Changes
    "changes": ("What cleaning changed", "清洗改了什么"),
    "changed": ("Rows that each step changed or marked.", "每一步修改或标记的样本。"),
    "before": ("Before", "之前"),
    "after": ("After", "之后"),
    # Copies
    "copies": ("Copies", "重复"),
    "copies_how": (
        "{exact} rows said exactly what another one says, {near} nearly. One of each stays.",
        "{exact} 个样本与另一个完全重复，{near} 个近似重复；每组保留一个。",
    ),
    "no_copies": ("No row repeats another one.", "没有重复的样本。"),
    "clusters": (
        "The largest clusters of copies, and the row of each that stays.",
        "最大的几组重复，以及每组保留的样本。",
    ),
    "stays": ("The row that stays", "保留的样本"),
    "cluster_rows": ("Rows in all", "共有样本"),
    "excerpt": ("It begins", "开头"),
    # Personal data
    "privacy": ("Personal data", "个人信息"),
    "found": (
        "What was found, by kind; the values themselves stand nowhere on this page.",
        "查出的种类与数量；本页不出现任何原值。",
    ),
    "found_none": (
        "None was found by its shape: mail addresses, telephone and identity numbers, cards, keys. Names and postal "
        "addresses are not looked for.",
        "按形态查找，未发现个人信息（邮箱、电话、证件号、卡号、密钥）。姓名和通信地址不在查找范围内。",
    ),
    "value_kind": ("Kind", "种类"),
    "values": ("Values", "数量"),
    # Parts
    "parts": ("The parts", "划分"),
    "given": ("The source brings its own parts.", "来源自带划分。"),
    "by_time": (
        "Shared out by {column}: the newest rows are the test.",
        "按 {column} 的时间划分：最新的样本用于测试。",
    ),
    "stratified": (
        "Shared out so that each value of {column} stands in all parts alike.",
        "按 {column} 分层划分，各部分比例一致。",
    ),
    "by_column": (
        "Shared out so that no value of {column} stands in two parts.",
        "按 {column} 分组划分，同一值不会出现在两个部分。",
    ),
    "in_groups": (
        "Shared out by the hash of each group: rows of one group never stand in two parts.",
        "按组的哈希划分：同组样本不会出现在两个部分。",
    ),
    "by_chance": ("Shared out by the hash of each row.", "按样本的哈希划分。"),
    "part": ("Part", "部分"),
    "share": ("Share", "占比"),
    "characters": ("Characters", "字符数"),
    "groups": ("Groups", "组数"),
    "largest_group": ("Largest group", "最大的组"),
    "groups_how": (
        "{rows} rows stand in groups, such as those with the same first question; the others each stand alone.",
        "{rows} 个样本属于某个组（例如首个问题相同）；其余样本各自独立。",
    ),
    "made": ("Rows made from training rows, by the way in which they were made.", "由训练样本生成的样本，按方式统计。"),
    "way": ("Way", "方式"),
    # Labels
    "labels": ("Labels", "标签"),
    "labels_table": ("{count} labels; the bar is train.", "共 {count} 个标签；条形为训练集。"),
    "labels_ends": (
        "{count} labels: the {most} most frequent and the {least} rarest; all stand in data.json. The bar is train.",
        "共 {count} 个标签，列出最常见的 {most} 个与最少见的 {least} 个；全部见 data.json。条形为训练集。",
    ),
    "rare": (
        "Labels with fewer than {few} training rows: {rare} of {count}. Expect little of them.",
        "{count} 个标签中有 {rare} 个的训练样本不足 {few} 个：不要对它们期望过高。",
    ),
    "label": ("Label", "标签"),
    # Lengths
    "lengths": ("Lengths", "长度"),
    "lengths_table": (
        "Characters of a row: half are at most the median, 95 % at most the next.",
        "每个样本的字符数：一半不超过中位数，95 % 不超过下一列。",
    ),
    "median": ("Median", "中位数"),
    "percentile_95": ("95 %", "95 %"),
    "longest": ("Longest", "最长"),
    "histogram": (
        "Characters of a row in train; each line reaches further than the one before.",
        "训练样本的字符数分布；区间逐行加宽。",
    ),
    "from_to": ("{low} to {high}", "{low} 至 {high}"),
    # Scripts
    "scripts": ("Scripts", "文字"),
    "scripts_table": ("What train is written in, by characters.", "训练集所用文字，按字符统计。"),
    "script": ("Script", "文字"),
    # Rows to read
    "samples": ("Rows to read", "样本示例"),
    "samples_how": (
        "The rows of each part whose ids, which are hashes, come first; cut at {most} characters.",
        "各部分中编号（哈希值）最小的样本；截至 {most} 个字符。",
    ),
    "sample": ("{part} · {id} · {origin}", "{part} · {id} · {origin}"),
    "turns_left": ("{shown} of {all} turns", "{all} 轮中的前 {shown} 轮"),
}

_STEPS: Phrases = {
    "read": ("read", "读取"),
    "understood": ("understood", "识别"),
    "cleaned": ("cleaned", "清洗"),
    "personal data": ("personal data masked", "个人信息脱敏"),
    "forgotten": ("rows to forget taken out", "移除要求遗忘的样本"),
    "kept out": ("texts of data.keep_out taken out", "移除 data.keep_out 中的文本"),
    "contradictions": ("contradictory labels removed", "去除标签矛盾的文本"),
    "exact copies": ("exact copies removed", "去除完全重复"),
    "near copies": ("near copies removed", "去除近似重复"),
    "max_rows": ("at most max_rows", "限制样本数"),
    "line_ends": ("line ends made even", "统一换行"),
    "html": ("mark-up removed", "去除网页标记"),
    "control_characters": ("control characters removed", "去除控制字符"),
    "unicode_form": ("Unicode made canonical", "统一 Unicode 形式"),
    "full_width": ("full width made half", "全角转半角"),
    "chinese_script": ("traditional and simplified Chinese", "繁简转换"),
    "punctuation": ("punctuation made even", "统一标点"),
    "urls": ("web addresses", "处理网址"),
    "repeated_lines": ("repeated lines removed", "去除重复行"),
    "stop_words": ("stop words removed", "去除停用词"),
    "white_space": ("white space tidied", "整理空白"),
    "length": ("length", "长度"),
    "language": ("language", "语言"),
    "gopher_quality": ("reads like prose (English)", "文章质量（英文）"),
    "chinese_quality": ("reads like prose (Chinese)", "文章质量（中文）"),
    "gopher_repetition": ("not repetitive", "不过度重复"),
    "c4_quality": ("whole sentences", "句子完整"),
    "toxicity": ("insults and threats", "辱骂与威胁"),
}

CHINESE_REASONS = {
    "broken_json": "不是有效的 JSON",
    "broken_csv": "不是有效的 csv",
    "ragged_row": "单元格数与表头不符",
    "not_an_object": "不是 JSON 对象",
    "invalid_bytes": "含有无效编码的字节",
    "lone_surrogate": "含有残缺的代理对",
    "no_answer": "没有答案",
    "no_question": "不以问题开头",
    "empty_turn": "有空白的对话轮",
    "empty_text": "没有文本",
    "no_label": "没有标签",
    "contradictory_label": "同一文本另有不同标签",
    "no_time": "没有可用于划分的日期",
    "late_system": "系统消息出现在中间",
    "unknown_role": "未知的角色",
    "wrong_type": "应为文本却是其他类型",
    "tool_call": "含工具调用，暂不能训练",
    "not_text": "含图像或声音",
    "answer_too_short": "答案不足 20 个字符",
    "answer_too_long": "答案超过 1,200 个字符且无法按段截断",
    "answer_is_elsewhere": "仅指向别处",
    "empty_after_cleaning": "清洗后为空",
    "too_short": "短于 data.clean 的要求",
    "too_long": "长于 data.clean 的要求",
    "other_language": "不是 data.clean 要求的语言",
    "not_prose": "不像通顺的文章",
    "repetitive": "反复重复同样的内容",
    "not_a_page": "完整句子太少，或是占位文本",
    "toxic": "含辱骂或威胁",
    "personal_data": "含个人信息",
    "exact_duplicate": "与另一样本完全重复",
    "near_duplicate": "与另一样本近似重复",
    "forgotten": "在要求遗忘的名单上",
    "kept_out": "含 data.keep_out 中的文本",
    "in_another_part": "所在的组已在验证集或测试集",
    "over_max_rows": "超过 data.max_rows",
    "overlong": "超过上下文长度",
}

NAMES: Phrases = {
    **_STEPS,
    **{name: (english, CHINESE_REASONS.get(name, english)) for name, english in REASONS.items()},
    "train": ("train", "训练"),
    "validation": ("validation", "验证"),
    "test": ("test", "测试"),
    "system": ("System", "系统"),
    "user": ("User", "用户"),
    "assistant": ("Assistant", "助手"),
    "text": ("Text", "文本"),
    "latin": ("Latin", "拉丁字母"),
    "han": ("Chinese characters", "汉字"),
    "kana": ("Japanese kana", "日文假名"),
    "hangul": ("Korean hangul", "韩文"),
    "cyrillic": ("Cyrillic", "西里尔字母"),
    "other": ("other letters", "其他文字"),
    "common": ("digits, signs, spaces", "数字、符号与空白"),
    "swap": ("words changed places", "交换词序"),
    "delete": ("words left out", "删除词语"),
    "typo": ("slips of the keyboard", "键盘误击"),
}
