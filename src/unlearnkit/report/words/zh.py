"""Holds every string of the report's page in Simplified Chinese (简体中文); `en.py` says what each is for."""

from __future__ import annotations

LANG = "zh-Hans"

# ---- numbers, dates, lists -------------------------------------------------------------------------------------------

UNKNOWN = "未知"
NOT_RECORDED = "未记录"
NONE = "无"
YES, NO = "是", "否"
COMMA, SEMICOLON, COLON = "，", "；", "："
LISTED = "、"
BRACKETS = ("（", "）")
LAST = "、"
QUOTED = "“{}”"
MILLISECONDS, SECONDS, MINUTES, HOURS = "{} 毫秒", "{} 秒", "{} 分 {} 秒", "{} 小时 {} 分"
STEPS = ("{} 步", "{} 步")
STEP_SPAN = "{}–{} 步"
POINTS = "{} 个百分点"
UNITS = {"nats": "{} 奈特", "distance": "{}", "L2": "{}（L2）", "log-odds": "{} 对数几率"}
MONTHS = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
DATE = "{year} 年 {month} 月 {day} 日 {time}（UTC）"
NO_DATE = "日期未记录"

# ---- the first screen ------------------------------------------------------------------------------------------------

REPORT = "unlearnkit 报告"
SKIP = "跳到摘要"
HEADLINE = "遗忘请求"
HEADLINE_ONE = "遗忘请求：类别{}"
HEADLINE_SOME = "遗忘请求：类别{}"
HEADLINE_MANY = "遗忘请求：{} 个类别"
HEADLINE_PICTURES = "遗忘请求：{}"
PICTURES = ("{} 张图片", "{} 张图片")
CLASSES = ("{} 个类别", "{} 个类别")
PICTURES_OF_ONE = "类别{1}的 {0}"
PICTURES_OF = "{1} 个类别的 {0}"
NONE_SHOWN = "均不展示"
FORGET = "要遗忘的内容"
CLASS_ID = "编号 {}"
OF_CLASSES = "共 {} 个类别"
EARLIER = "此前已遗忘"
METHOD = "方法"
STATEMENT = "形式化结论"
PRESET = "预设"
CHANGED_SETTINGS = "，已改动：{}"
SETTINGS = "设置"
NO_METHOD = "未知：本次运行比较的是在别处生成的两个权重文件"
MODEL = "模型"
NO_ARCHITECTURE = "架构未记录"
NO_NAME = "文件名未知的权重"
COMPARED = "比较对象"
DATA = "数据"
SUMMARY = "摘要"
VERDICT = "判定结果"
STATUSES = {"pass": "通过", "fail": "未通过", "unknown": "未能判定", "none": "未审计"}  # nosec B105  # a verdict
WHY = "原因：{}。"
EVIDENCE = "证据等级 {}"
CARDS = {
    "forget_test": "遗忘类测试数据上的准确率",
    "forget_train": "被遗忘图片上的准确率",
    "retain_test": "保留类测试数据上的准确率",
    "cost": "遗忘的成本",
}
THEN = "变为"
NO_AUDIT = "未测量：尚未进行审计"
CHANGE = "变化"
INTERVAL_AFTER = "遗忘后，95% 置信区间"
RETRAINED = "重新训练"
RETRAINED_MEAN = "重新训练，{} 个模型的均值"
NO_MODEL = "未提供模型"
MEAN_SPAN = "{}（{}）"
AGAINST_RETRAINING = "与重新训练相比"
CHEAPER = "成本为其 1/{}"
DEARER = "成本为其 {} 倍"
COST_MORE = "遗忘的成本高于重新训练"
COST_UNKNOWN = "未知：没有记录重新训练的成本"
RETRAINING_TOOK = "重新训练耗时"
PASSED_BACKWARD = "反向传播的样本数"
READS = "遗忘类的样本"
RUN_AUDIT = "要了解遗忘效果如何，请运行："
RUN_RETRAINED = "{}要弄清这些，请运行："
COMMANDS = "要运行的命令"

# ---- headings, columns, and what stands around figures and tables ----------------------------------------------------

CONTENTS = "目录"
CHANGED = "发生了什么变化"
NOTHING_MEASURED = "还没有任何测量结果。"
MEAN_BESIDE = "（{} 个模型；行末的数字是它们的均值）"
HOW_TO_READ = "如何解读："
BAD_RESULT = "不好的结果："
AS_TABLE = "以表格显示"
TABLE_OF = "{}（表格）"
READINGS = "全部测量结果"
READINGS_LEAD = (
    "审计得到的每一个数值，以及应当对它存疑的理由。"
    "对其中大多数而言，应有的值不是零，而是去掉遗忘类数据后重新训练的模型的数值。"
)
READING_COLUMNS = ("数据", "模型", "数值", "区间", "目标", "存疑")
ORIGIN = "结果从何而来"
COMMAND = "命令"
WHO_READ = "谁读取了什么"
READ_PER_PART = "各部分、各类别被读取的样本数"
PART = "数据部分"
READ_COLUMNS = ("样本数", "被方法读取", "被审计读取", "被解码")
PER_CLASS = "按类别列出"
READ_PER_CLASS = "各类别被读取的样本数"
CLASS_COLUMN = "类别"
COSTS = "所花的成本"
COST_PER_STAGE = "各阶段的成本"
COST_COLUMNS = ("阶段", "时间", "前向传播的样本数", "反向传播的样本数", "内存峰值")
AUDIT_COST = "审计所花的成本"
AUDIT_PART = "审计的部分"
WORK = {
    "outputs": "在图像上运行各模型",
    "return": "仅用保留数据训练",
    "relearning": "重新学习",
    "few_shots": "用每类少量样本训练",
    "features": "从各层特征中读取该类别",
    "readings": "其余所有测量",
}
HASHES = "文件及其 sha256"
FOOTER = (
    "本页由 unlearnkit 仅根据本次运行文件夹中的文件生成，不从别处加载任何内容。"
    "页面中唯一的脚本只用于对测量结果表排序和筛选；没有它，所有内容依然完整。"
)
SECTIONS = {
    "request": "请求",
    "method": "方法与设置",
    "model": "模型与数据",
    "machine": "机器与版本",
    "notes": "方法的备注",
}
FACTS = {
    "forget": "要遗忘的类别",
    "rows": "要遗忘的图片",
    "duplicates": "保留图片中的重复（完全相同、近似）",
    "ids": "类别编号",
    "earlier": "此前已遗忘",
    "classes": "模型的类别数",
    "architecture": "架构",
    "before": "遗忘前的权重",
    "after": "遗忘后的权重",
    "data": "数据",
    "personal": "可能出现人物",
    "include_images": "要求写入样本图片",
    "shape": "输入形状",
    "normalisation": "均值，标准差",
    "made": "生成时间",
    "device": "设备",
    "precision": "数值精度",
    "seed": "随机种子",
    "audit_seed": "审计的随机种子",
    "method": "方法",
    "needs": "允许读取的数据",
}
FILES = {"input": "输入", "retrained": "重新训练的模型", "shadows": "影子模型", "artefact": "产物"}

# ---- inside figures --------------------------------------------------------------------------------------------------

NAMES = {"original": "原模型", "unlearned": "遗忘后", "retrained": "重新训练"}
HEADS = {"original": "遗忘前", "unlearned": "遗忘后", "retrained": "重新训练"}
NUMBERED = "{} {}"
AXIS = "下图的坐标轴"
SCALE_OF = "{}：刻度"
COLUMNS_OF = "{}：各列"
RANGE = "{}：{} 至 {}"
AT_END = "{}，终点：{}"
AT = "{}，{} {}：{}"
CURVE_AT = "{0}：{3}为 {2} 时为 {1}"
STEPS_FROM_TO = "{} 步，从 {} 到 {}"
TITLE_PART = "{}（{}）"
LOST_MOST = "准确率下降最多的保留类：{}，从 {} 降至 {}（{}）。"
LOST_NONE = "没有保留类的准确率下降。"
OTHER_CLASSES = ("其他 {} 个类别", "其他 {} 个类别")
DIFFERENCE = "圆点与菱形之间的差异（全变差距离）：{}{}。"
DOUBTED = "（{}）"
STILL = "权重完全没有改变、画在左边缘的层：{}。"
MORE = "另外 {} 层"
COUNT_OF = "{} 项{}"
NOTES = "{}{}"
NOT_AVAILABLE = "无法给出：{}。"
UNMEASURED = "没有测量"
FOUND = ("{}。", "{}。{}")

# ---- names, explanations and captions --------------------------------------------------------------------------------

METRICS = {
    "accuracy": ("准确率", "被正确识别的样本所占的比例"),
    "balanced_accuracy": ("平衡准确率", "同样的比例，但各类别同等计入"),
    "prediction_max_share": ("单一类别的最大占比", "遗忘类数据中有多少被认作同一个类别"),
    "prediction_entropy": ("预测的分散程度", "熵：遗忘类数据全部被认作一个类别时为 0，越分散越大"),
    "prediction_tv": ("预测与重新训练模型的差异", "全变差距离：0% 表示分布相同，100% 表示毫无重合"),
    "loss": ("损失", "平均交叉熵：样本所属类别得到全部概率时为 0"),
    "output_entropy": (
        "输出的熵",
        "各样本的均值：模型完全确信是某一个类别时为 0，所有类别概率相同时最大",
    ),
    "activation_distance": (
        "输出与重新训练模型的距离",
        "同一图像的两组概率之间的平均距离：0 表示相同，1.41 表示截然相反",
    ),
    "margin_distance": (
        "间隔与重新训练模型的距离",
        "同一张被遗忘的图片上标签对数几率之间的平均距离：0 表示相同",
    ),
    "js_divergence": (
        "输出与重新训练模型的散度",
        "同一图像的两组概率之间的 Jensen-Shannon 散度，单位为奈特：0 表示相同，0.69 表示毫无相似之处",
    ),
    "zrf": (
        "与一无所知的网络的相似度",
        "ZRF：100% 表示回答与未经训练的网络一样；重新训练的模型大多远低于此",
    ),
    "collateral_accuracy": ("最邻近类别的准确率", "最邻近类别是与遗忘类最相像的保留类"),
    "forgotten_share": ("被认作遗忘类的保留数据", "重新训练的模型从不把样本认作遗忘类"),
    "membership_auc_loss": (
        "样本级成员推断（损失）",
        "把遗忘类的训练样本与训练中未见过的样本区分开的 AUC：0.5 相当于抛硬币",
    ),
    "class_membership_auc": (
        "类别级成员推断",
        "根据模型的输出，把遗忘类的未见样本与其最邻近保留类的未见样本区分开的 AUC",
    ),
    "class_membership_retained_auc": (
        "类别级成员推断（保留类输出）",
        "同样的 AUC，但只看保留类的输出；仅仅屏蔽遗忘类的输出，不会改变这一数值",
    ),
    "class_membership_nn": ("被认作最邻近类别", "遗忘类测试样本中，被同一攻击认作最邻近保留类的比例"),
    "membership_auc_entropy": ("样本级成员推断（熵）", "同样的 AUC，依据模型有多犹豫"),
    "membership_auc_mentropy": ("样本级成员推断（修正熵）", "同样的 AUC，依据模型有多犹豫、错得有多严重"),
    "membership_auc_rmia": (
        "样本级成员推断（RMIA）",
        "同样的 AUC，依据样本在该模型下的似然，并与其在重新训练的模型下的似然相比",
    ),
    "membership_tpr_loss": (
        "找出的成员（损失）",
        "在只把 1% 的未见样本误认作成员的条件下，攻击找出的遗忘类训练样本所占的比例",
    ),
    "membership_tpr_entropy": ("找出的成员（熵）", "同样的比例，依据模型有多犹豫"),
    "membership_tpr_mentropy": ("找出的成员（修正熵）", "同样的比例，依据模型有多犹豫、错得有多严重"),
    "membership_tpr_rmia": ("找出的成员（RMIA）", "同样的比例，以重新训练的模型作参照"),
    "membership_u_lira": (
        "被 U-LiRA 认作已遗忘",
        "遗忘类训练样本中，看起来像是学过之后又被同一方法遗忘（以别的模型为参照）、而不像从未见过的样本所占的比例",
    ),
    "membership_svc": (
        "认作成员的样本（SVC 攻击）",
        "遗忘类训练样本中，被在保留样本上拟合的 SVC（支持向量分类器）认作成员的比例",
    ),
    "linear_information": (
        "关于遗忘内容的信息",
        "关于一个样本是否属于遗忘类，线性探针能从特征中得到多少奈特的信息，最多 0.69",
    ),
    "linear_idi": (
        "信息差异指数",
        "把所有层的这种信息合在一起：0 如同重新训练的模型，1 如同原模型，小于 0 则比重新训练的模型更少",
    ),
    "anamnesis_index_forget": ("Anamnesis 指数（仅遗忘类）", "同样的比值，按仅重新学会遗忘类所需的步数计算"),
    "depth_recovery": (
        "任意深度上的类别信息",
        "从特征中识别遗忘类的对数几率与重新训练模型的对数几率之差，取相差最大的层与分类器；"
        "按层列出时，大于 0 表示知道得更多",
    ),
    "return_recovery": (
        "仅凭保留数据的恢复率",
        "在保留样本上训练之后，遗忘类测试数据的准确率，取多种步长与步数中的最大值",
    ),
    "probe_recovery": (
        "线性探针的恢复率",
        "用特征上的线性分类器能重新识别出的遗忘类测试样本所占的比例",
    ),
    "knn_recovery": ("近邻的恢复率", "同样的比例，依据特征空间中的近邻"),
    "prototype_recovery": ("类均值的恢复率", "同样的比例，依据最近的类别特征均值"),
    "cka_original": ("特征与原模型的相似度", "CKA：1 表示除旋转和缩放外完全相同"),
    "cka_retrained": ("特征与重新训练模型的相似度", "CKA：1 表示除旋转和缩放外完全相同"),
    "few_shot_recovery": (
        "每类 20 个样本的恢复率",
        "换上新的输出层短暂训练之后，遗忘类与保留类测试准确率的平均值",
    ),
    "anamnesis_index": (
        "Anamnesis 指数",
        "重新学会所需的步数与重新训练模型所需步数之比：1 表示一样快，小于 1 表示仍有记忆",
    ),
    "weight_distance": ("权重距离", "权重相对原模型改变了多少"),
    "relearn_steps": (
        "重新学会所需的步数",
        "先为所有类别重新拟合输出层再开始训练，到遗忘类与保留类测试准确率都与原模型相差不超过五个百分点为止"
        "的训练步数，在两次测量之间插值得出：区间的两端分别是最后一次尚未达到和第一次达到的测量；"
        "仅凭拟合的输出层就已达到时，也记为 1",
    ),
    "relearn_forget_steps": (
        "仅重新学会遗忘类所需的步数",
        "同样的训练，直到单是遗忘类的测试准确率与原模型相差不超过五个百分点",
    ),
    "cost_seconds": ("工作时间（秒）", "实际经过的时间，不含解码和评估"),
    "cost_ratio": ("重新训练与遗忘的成本之比", "大于 1 表示遗忘更省"),
}

PARTS = {
    "retain_train": "保留类训练集",
    "retain_val": "保留类验证集",
    "forget_train": "遗忘类训练集",
    "retain_test": "保留类测试集",
    "forget_test": "遗忘类测试集",
    "excluded_train": "此前已遗忘类别的训练集",
    "excluded_test": "此前已遗忘类别的测试集",
}

MODELS = {"original": "原模型（遗忘前）", "unlearned": "遗忘后的模型", "retrained": "重新训练的模型"}

TARGETS = {
    "higher": "越高越好",
    "lower": "越低越好",
    "match_retrain": "与重新训练一致",
    "none": "仅作描述",
}

VERDICTS = {
    "pass": ("✓", "就这里得出结果的每一项指标而言，无法把该模型与去掉这些类别的数据后重新训练的模型区分开。"),
    "fail": ("✕", "可以把该模型与去掉这些类别的数据后重新训练的模型区分开。"),
    "unknown": ("?", "本次审计未能确定能否把该模型与去掉这些类别的数据后重新训练的模型区分开。"),
    "none": ("–", "尚未进行审计：新的权重已经生成，但这里没有任何内容说明遗忘效果如何。"),
}
VERDICTS_OF_PICTURES = {
    "pass": (
        "✓",
        "在此能够判定的所有指标上，该模型与未使用这些图片重新训练的模型无法区分。",
    ),
    "fail": ("✕", "该模型可以与未使用这些图片重新训练的模型区分开来。"),
    "unknown": (
        "?",
        "本次审计未能判定该模型能否与未使用这些图片重新训练的模型区分开来。",
    ),
}

TIERS = {
    "E3": "E3：有遗忘类的训练样本可供查看。",
    "E2": "E2：有遗忘类的留出样本（未用于训练）可供查看，但没有训练样本；需要训练样本的指标均为未知。",
    "E1": "E1：查看的是其他来源的替代样本，没有遗忘类自身的任何样本。对替代样本成立的结论，对遗忘类未必成立。",
    "E0": "E0：除了名称，没有遗忘类的任何数据，因此任何审计都不可能通过。",
}

READ_BY_METHOD_NONE = (
    "该方法从未打开过遗忘类的图像，无论训练数据还是测试数据。这一结果由提供图像的环节实际计数得出，而不是自行声明。"
)
READ_BY_METHOD_SOME = "该方法打开过遗忘类的图像。凡是以“不接触这些数据即可遗忘”为前提的人，都必须知道这一点。"
READ_BY_METHOD_UNKNOWN = "权重不是在本次运行中生成的，因此没有统计其方法读取过什么。"
READ_BY_AUDIT = "审计在遗忘完成之后打开这些图像进行测量；它看到的任何内容都没有进入权重。"
READ_BY_AUDIT_NONE = "没有任何审计查看过这些图像。"
DECODED_NONE = "数据加载器没有把其中任何一张图像以像素形式交给任何一方。"
DECODED = "数据加载器把这些图像解码成了像素；不论供谁读取，方法与审计合并计数。"

NO_RETRAINED = (
    "没有提供重新训练的模型。因此无法判断：这些准确率、预测和重新学会所需的步数是否与从未见过这些类别的模型相同，"
    "以及遗忘比重新训练省多少。"
)
NO_SAMPLES_OF = (
    "以下保留类没有训练样本可供方法使用，因此模型对它们的识别能力无从保持：{}。请提供包含这些类别样本的数据。"
)
NOT_FORGOTTEN = (
    "模型没有遗忘：{}。{}（`unlearnkit methods NAME` 会列出全部设置），"
    "用 `unlearnkit tune` 寻找合适的设置，或者换一种方法。"
)
TURN_UP = "请调高该方法的学习率或轮数"
TURN = {"raise": "调高 {}", "lower": "调低 {}"}
TURN_SETTINGS = "要让 {} 遗忘得更多，请用 --set {}"
LOST_ACCURACY = "保留类可能受到了损害：{}。请减弱该方法（`unlearnkit methods NAME` 会列出其设置），或延长修复。"
REQUEST_PRIVACY = "训练时的差分隐私：{}。"
SEARCH_FAILED = (
    "在试过的每一个学习率下，保留类准确率的下降都超出了允许的幅度；最终采用的是第一次尝试，它遗忘得最多。"
    "请增大 retain_per_class 或训练轮数（UNSIR 则为修复的轮数），或改用其他方法。"
)

PRIMARY = {
    "accuracy/retain_test": "保留类准确率",
    "accuracy/forget_test": "遗忘类准确率",
    "prediction_tv/forget_test": "预测分布",
    "activation_distance/forget_test": "输出概率",
    "membership_auc_loss": "样本成员推断",
    "class_membership_auc": "类别成员推断",
    "probe_recovery/forget_test": "线性探针",
    "prototype_recovery/forget_test": "类均值",
    "depth_recovery/forget_test": "任意深度",
    "return_recovery/forget_test": "自行恢复",
    "relearn_steps": "重新学习",
}
STATUS = {"pass": "在容许范围内", "fail": "在容许范围外", "unknown": "未能判定"}  # nosec B105  # a verdict
BAND_COLUMNS = ("容许范围", "偏离（到范围边界为 1）", "判定")
GAP = "偏离为均值到范围边界距离的 {} 倍"
FARTHEST = "离重新训练的模型最远的是{}：与这些模型均值的偏离，为均值到容许范围边界距离的 {} 倍。"
NO_BANDS = "无法给出：没有测量任何参与判定的指标。"
NO_CURVE = "无法给出：本次审计没有写出曲线。曲线要求成员与非成员各至少有 20 个样本；较早版本的审计从不写出曲线。"
NOT_MEASURED = "本次审计没有测量"
NOT_JUDGED = "已测量，但没有作出判定"
ALL_PRIMARY = "参与判定的全部 {} 项指标"
UNRESOLVED = "未能判定的指标"
RESOLVED = "参与判定的每一项指标都已作出判定。"

FIGURES = {
    "accuracy": (
        "各类别在测试数据上的准确率",
        "每个类别一行。圆环是遗忘前的模型，圆点是遗忘后的模型，菱形是去掉遗忘类数据后重新训练的模型。"
        "遗忘类排在最前，以 ✕ 标出；其余类别按准确率的降幅排列，降幅最大的在前。",
        "遗忘类的圆点仍在菱形右侧；或者保留类的圆点远在其圆环左侧。",
    ),
    "bands": (
        "模型处在什么位置",
        "每项参与判定的指标一行，各用各的刻度，从出现的最小值到最大值。浅色条是围绕重新训练的模型（菱形）的容许范围，"
        "落在其中即为通过；只有偏向不利一侧的差异才计入。✓ 在容许范围内，✕ 在容许范围外，? 未能判定。"
        "成员推断的数值是把成员与非成员区分开的概率：50% 相当于抛硬币。",
        "圆点落在浅色条之外。如果圆环也在浅色条内或紧挨着它，"
        "这项指标就连什么都没有遗忘的模型也区分不出来，不能据此判任何模型通过。",
    ),
    "collateral": (
        "最邻近类别的准确率",
        "原模型最容易认作遗忘类的那些保留类，最邻近的在前，使用测试数据：它们最先受到影响。"
        "菱形可能在圆环右侧，因为从未见过遗忘类的模型可供混淆的类别更少。",
        "圆点在菱形左侧：遗忘损害了邻近的类别。",
    ),
    "probe": (
        "线性探针在各层能找到什么",
        "线性分类器根据每一层的特征能重新识别出的遗忘类测试样本所占的比例，最上面靠近输入，最下面是输出层的输入。"
        "分类器用包含遗忘类的留出样本拟合，因此菱形并不在 0%：从未见过的类别，其特征同样能把它们区分开。",
        "圆点靠近圆环、位于菱形右侧，尤其是在最下面：改变的只是输出，输出层之前的各层仍然认得这个类别。"
        "圆点远在菱形左侧，同样会使这个模型被区分出来。",
    ),
    "few_shot": (
        "从少量样本重新学习",
        "换上新的输出层短暂训练之后，遗忘类与保留类测试准确率的平均值，横轴是每个类别给出的样本数。",
        "遗忘后模型的线比重新训练模型的线更早上升，向原模型的线靠拢：几张图片就能让类别恢复。"
        "如果远低于重新训练模型的线，同样会使这个模型被区分出来。",
    ),
    "return": (
        "类别会自行恢复吗？",
        "仅在保留样本上训练之前（0）和之后，遗忘类测试数据的准确率，按步数与步长（相对每层权重大小的比例）列出；"
        "训练中没有给模型看遗忘类。重新训练的模型没有什么可以恢复的。",
        "遗忘后模型的圆点在任何一行离开菱形：类别只是被压制，而没有被去除，普通的后续训练就会让它恢复。",
    ),
    "membership": (
        "能把遗忘类的训练样本与训练中未见过的样本区分开吗？",
        "成员推断攻击：攻击者把损失小的样本认作训练集的成员。曲线的纵轴是成员中被找出的比例，"
        "横轴是其他样本中被误认作成员的比例；随机猜测得到从 0% 到 100% 的直线。"
        "对重新训练的模型来说，这里没有一个样本是成员。",
        "遗忘后模型的线高于重新训练模型的线，尤其是在左侧，即攻击者几乎不出错的地方；或者远低于直线，"
        "例如成员的损失被人为推高之后。",
    ),
    "predictions": (
        "模型把遗忘类数据认作什么",
        "每行一个类别，标记表示遗忘类测试数据中有多少被认作该类别。各行按遗忘后的占比排列。",
        "带 ✕ 的行中，圆点的占比仍然很高；或者几乎全部落在另一个类别上，而菱形却是分散的，这会暴露模型被做过什么。",
    ),
    "histograms": (
        "逐个样本：错得有多严重、模型有多确信",
        "遗忘类测试数据上的损失与输出的熵：每条线是落在各个区间的样本所占的比例，模型的标记画在比例最大的区间上。"
        "损失接近 0 表示样本被认出；熵接近 0 表示模型确信是某个类别，无论对错。均值见表格。",
        "遗忘后模型的线有一部分落在原模型的位置：有些样本仍被认得。损失远离重新训练模型的损失（偏大偏小都算），"
        "或者所有样本的熵都处于最大值，同样会使这个模型被区分出来。",
    ),
    "weights": (
        "各层的权重改变了多少",
        "每层权重与原模型权重的 L2 距离，对数刻度，最上面靠近输入，最下面靠近输出。"
        "重新训练的模型无论用什么数据训练，都离原模型很远，因此圆点不必到达菱形。",
        "只有最后一层有改变：那么改变的只是输出，输出层之前的各层可能仍然认得这个类别。",
    ),
    "relearn": (
        "重新认出遗忘类所需的步数",
        "每个模型都换上新的输出层，先冻结特征，用所有类别的训练样本拟合这一层，然后接受同样的训练，直到遗忘类与保留类"
        "测试准确率的平均值与原模型相差不超过五个百分点。条形的末端是达到时的步数，"
        "在最后一次尚未达到和第一次达到的测量之间插值得出，浅色条的两端即这两次测量；"
        "仅凭拟合的输出层就已达到时，末端也画在 1。"
        "箭头表示直到运行停止也没有达到。",
        "远少于重新训练的模型：知识只是被隐藏，而没有被去除。远多于重新训练的模型，同样能把两者区分开。",
    ),
    "relearn_curves": (
        "逐步重新学习",
        "重新学习过程中遗忘类测试数据的准确率；步数为对数刻度，只有 0 例外，画在左边缘："
        "此时只拟合了输出层，一步也没有训练。当遗忘类与保留类准确率的平均值在某次测量中首次回到"
        "与原模型相差不超过五个百分点，或运行停止时，线就结束。",
        "遗忘后模型的线远比重新训练模型的线更早上升。",
    ),
    "training": (
        "方法做了什么",
        "每个训练步的损失，按阶段列出。",
        "线在上升，或者到结束时仍在急剧下降。",
    ),
    "embedding": (
        "样本在特征空间中的位置",
        "每个标记是一个测试样本，按输出层之前的特征变化最大的两个方向来放置。每个模型的方向各不相同："
        "应比较各组样本之间的相对分布，而不是绝对位置。",
        "叉号自成一簇，而在重新训练的模型中它们与圆环混在一起：模型仍能把它们区分开。"
        "叉号被推到远离其他一切的地方，同样会使这个模型被区分出来。",
    ),
    "attention": (
        "模型看的是哪里",
        "Grad-CAM 热力图，以橙色叠加在图像上：橙色越浓，该处越支持这个类别。每幅热力图按自身的最大值缩放；"
        "没有任何地方支持该类别时，图像保持灰色。样本是测试数据中各类别的第一个样本。",
        "对某个遗忘类，遗忘后模型的热力图与原模型的一样，而与重新训练模型的不同。仅凭热力图说明不了什么："
        "从未见过某个类别的模型，对该类别同样会有热力图。",
    ),
    "noise": (
        "代替遗忘类的噪声",
        "方法仅根据原模型计算出一些图像，再以各类别的名义用它们训练模型；这里展示其中几张，"
        "即模型离认出该类别最远的那几张。图中逐个显示像素；图像较大时只显示中央部分。",
        "能从中辨认出什么内容：权重可能保留着训练时见过的内容，而噪声正是由权重计算出来的。",
    ),
    "cost": (
        "时间花在哪里",
        "各阶段的工作时间（秒），不含解码和评估；下面是合计，以及重新训练的成本（如有记录）。",
        "合计接近重新训练的成本：那么直接重新训练会是更简单、也更可靠的选择。",
    ),
}

STAGES = {
    "noise": "噪声：越低，原模型在噪声上错得越多。",
    "impair": "损伤：噪声与保留数据合在一起的损失。",
    "repair": "修复：仅保留数据的损失。",
    "search": "搜索：留出的保留样本中识别错误的比例；最先是原模型，然后是每次尝试。",
}

FORGOTTEN = "遗忘类"
FORGOTTEN_EARLIER = "此前已遗忘"
STEP = "步数"
SHOTS = "每个类别的样本数"
FALSE_POSITIVES = "其他样本中被误认作成员的比例"
AGAINST = "遗忘后 {}，重新训练 {}。"
AREA = "曲线下面积：遗忘后 {}，重新训练 {}；随机猜测为 50%。"
HISTOGRAMS = {"loss": "损失（奈特）", "output_entropy": "输出的熵（奈特）"}
MEAN_OF = "{}（均值）"
AND_MORE = "{} 及以上"
BIN = "{} 至 {}"
LEFT_OUT = {
    "personal/embedding": "已略去：数据中可能出现人物，而每个点就是一个样本。"
    "运行 `unlearnkit audit --include-images` 可将其写入。",
    "personal/attention": "已略去：数据中可能出现人物，而这些是样本的图片。"
    "运行 `unlearnkit audit --include-images` 可将其写入。",
    "quick/attention": "因 --quick 而略去；不加该选项的审计会画出这些热力图。",
    "personal/noise": "已略去：数据中可能出现人物，而噪声是由用这些数据训练的模型计算出来的。"
    "运行 `unlearnkit forget --include-images` 可将其写入。",
}
GROUPS = {"forgotten": "遗忘类的样本", "retained": "保留类的样本"}
PLANE_OF = "{}：平面上的 {} 个遗忘类样本（叉号）和 {} 个保留类样本（圆环）"
EXPLAINED = "两个坐标轴分别解释了方差的 {}。"
STAND_INS = "遗忘类的样本是其他来源的替代样本。"
IMAGE = "图像"
SAMPLE_OF = {"forgotten": "“{}”的测试样本（遗忘类）", "retained": "“{}”的测试样本（保留类）"}
SPEAKS_FOR = "支持“{}”的位置；在每个模型看来，这个类别都是最可能的保留类。"
TWO_ROWS = "第一行：支持“{}”的位置。第二行：支持最可能的保留类（{}）的位置。"
RIVAL = "{}：“{}”"
ATTENTION_LAYER = "这些热力图取自“{}”层。"
NOISE_OF = "类别“{}”的噪声"
NOISE_SCALE = "中灰色为 0；黑色和白色分别为 −{0} 和 +{0}，或超出这一范围，以归一化之后的输入为单位。"
MORE_CLASSES = "另有 {} 个类别未显示。"
FILTER = "只显示包含以下文字的行"
SHOWN = "显示 {}/{} 行；点击表头可在每项指标内排序"
DOWNLOAD = "下载数据（CSV）"
TOTAL = "合计"
TRAINING = "{}：逐步损失"
ATTEMPTS = "共 {} 次尝试，每次都以更低的学习率从头开始。"
MEANS = "每个点约为 {} 步的均值。"

NOTED = {
    "no_retained_validation_samples": "没有保留类的验证样本",
}

SENTENCES = {
    "unknown": "未知：{reason}",
    "unresolved": "未能判定：{reason}",
    "no_samples": "{part} 没有样本",
    "no_samples_in_both": "{first} 和 {second} 没有样本",
    "no_test_samples": "没有测试样本",
    "no_features": "没有提取特征",
    "no_head_features": "无法提取输出层之前的特征",
    "layer_not_finite": "{layer} 层的特征含有非有限值",
    "original_not_finite": "原模型的特征含有非有限值",
    "unlearned_not_finite": "遗忘后模型的特征含有非有限值",
    "retrained_not_finite": "重新训练模型的特征含有非有限值",
    "features_unusable": "特征为常数、含有非有限值，或样本不足 4 个",
    "outputs_not_finite": "在 {part} 上的输出含有非有限值",
    "too_few_held_out": "需要遗忘类和保留类各有两个留出样本",
    "needs_original_features": "需要原模型的特征",
    "needs_retrained_features": "需要另一个重新训练的模型的特征",
    "difference_too_small": "原模型比重新训练的模型只多 {nats:.3f} 奈特的信息，差距太小，无法以此衡量",
    "no_reference": "既没有重新训练的模型，也没有原模型，无法选定最邻近类别",
    "reference_unusable": "某个参照模型没有可用的输出",
    "too_few_retained_classes": "同时具有训练样本和测试样本的保留类不足两个",
    "no_other_retrained": "没有其他重新训练的模型作参照",
    "too_few_shadows": "U-LiRA 需要两个影子模型",
    "too_few_retrained_beside": "除被考察的模型之外，U-LiRA 还需要两个重新训练的模型",
    "certain_of_a_sample": "某个模型给某些样本的概率为零或为一",
    "no_population": "forget_test 只有一个样本，构不成总体",
    "no_scores": "保留类的成员与非成员没有可据以区分的 p_y",
    "no_untrained": "没有这种架构的未训练网络",
    "needs_forgotten_samples": "需要遗忘类的训练样本和测试样本",
    "loss_infinite": "{n} 个样本中有 {masked} 个的损失为无穷大，因为其类别被屏蔽",
    "stage_stopped": "阶段“{stage}”的损失在第 {step} 步变为 {loss}，已停止；请降低该阶段的学习率",
    "no_attention_layer": "在输出层之前，模型中没有一个保留图像位置、且所有数据都经过的层，请指定一个层",
    "not_measured": "无法测量",
    "few_retrained": "需要 {needed} 个重新训练的模型，只提供了 {given} 个",
    "samples_unknown": "不知道它依据多少个样本",
    "cut_off_without_bank": "重新训练的模型在步数上限之内没有测得结果，而库中没有收录这种设定的数据，"
    "无从知道它们彼此相差多少",
    "training_failed_here": "训练在这个模型上失败，而在重新训练的模型上成功",
    "not_finite_here": "这个模型的特征或输出含有非有限值，而原模型和重新训练的模型都没有",
    "original_not_measured": "没有测量原模型",
    "original_too_near": "原模型离重新训练的模型太近，即使有 20 个重新训练的模型，也无法用这项指标把它们区分开",
    "one_more_retrained_settles": "原模型离现有的重新训练的模型太近，还无法把它们区分开，"
    "但只要再加 1 个差异与现有各个相当的重新训练的模型，就可以判定",
    "more_retrained_settle": "原模型离现有的重新训练的模型太近，还无法把它们区分开，"
    "但只要再加 {more} 个差异与现有各个相当的重新训练的模型，就可以判定",
    "small_sample": "样本少：{n} 个",
    "partial": "仅测量了 {whole} 个样本中的 {n} 个",
    "partial_part": "{part}：仅测量了 {whole} 个样本中的 {n} 个",
    "few_classes": "仅在 {whole} 个类别中的 {n} 个之间",
    "probe_below_accuracy": "探针在原始模型的特征中只找到被遗忘类别的 {probe:.1%}，而该模型自身可识别 {accuracy:.1%}",
    "one_retrained": "只有一个重新训练的模型",
    "one_reference": "只有一个参照模型",
    "u_lira_banks": "U-LiRA 使用 {shadows} 个影子模型和 {retrained} 个重新训练的模型",
    "neighbour_without_retrained": "最邻近类别不是依据重新训练的模型选定的",
    "equal_scores": "退化：所有得分都相同",
    "one_class_predicted": "退化：几乎所有预测都是同一个类别",
    "weights_kept": "{share:.0%} 的权重与原模型逐位相同",
    "weak_attack": "攻击太弱：只在 {share:.0%} 的保留样本上正确",
    "few_non_members": "非成员只有 {n} 个，对 1% 的假阳性率来说太少：一个误判也不允许",
    "partly_drawn": "未训练网络的权重只有 {share:.0%} 能够重新随机抽取",
    "censored": "删失：{steps} 步之内没有重新学会",
    "stand_ins": "在其他来源的替代样本上测量，而不是在遗忘类数据上",
    "outside_band": "超出重新训练模型的容许范围：{readings}",
    "inside_band": "在重新训练模型的容许范围内",
    "readings_unresolved": "未能判定：{readings}",
    "no_forgotten_data": "没有遗忘类的数据",
    "representation_unresolved": "表征未能判定（{reasons}）",
    "outputs_and_membership_unresolved": "输出与成员推断均未能判定（{reasons}）",
    "rows_unresolved": "在被遗忘的图片上，成员推断与输出未能都得到判定（{reasons}）",
    "mixed_request": "同时要求遗忘类别和单张图片的请求不予判定；请分别审计",
    "reading_unresolved": "{reading}：{reason}",
    "family_not_measured": "没有测量",
    "judged_on_stand_ins": "依据替代样本判定，而不是依据遗忘类数据",
    "not_forgotten_retrained": "对遗忘类的样本，它仍有 {accuracy:.1%} 识别正确，而重新训练的模型最多 {retrained:.1%}",
    "not_forgotten_chance": "对遗忘类的样本，它仍有 {accuracy:.1%} 识别正确，而随机水平为 {chance:.1%}",
    "weights_unchanged": "其权重与遗忘之前完全相同",
    "retained_accuracy_kept": "在 {n} 个保留类验证样本上，新模型的准确率为 {after:.1%}，"
    "去掉遗忘类输出的原模型为 {before:.1%}："
    "损失至多 {bound:.1%}（单侧 95%），未超出允许的 {tolerance:.1%}",
    "retained_accuracy_open": "在 {n} 个保留类验证样本上，新模型的准确率为 {after:.1%}，"
    "去掉遗忘类输出的原模型为 {before:.1%}："
    "损失可能达到 {bound:.1%}（单侧 95%），因此这些样本不能排除损失超出允许的 {tolerance:.1%}",
    "retained_accuracy_lost": "在 {n} 个保留类验证样本上，新模型的准确率为 {after:.1%}，"
    "去掉遗忘类输出的原模型为 {before:.1%}："
    "损失至少 {bound:.1%}（单侧 95%），超出了允许的 {tolerance:.1%}",
    "retained_accuracy_by_heart": "在 {n} 个保留类验证样本上，新模型的准确率为 {after:.1%}，"
    "去掉遗忘类输出的原模型为 {before:.1%}："
    "损失至少 {bound:.1%}，超出了允许的 {tolerance:.1%}；但原模型对这些样本与对训练样本同样熟悉，可能早已记住了它们",
    "request_privacy": "原模型以差分隐私训练：对单个样本，epsilon 为 {one:.3g}、delta 为 {one_delta:.1e}；"
    "按群体隐私，对本次请求的全部 {rows:,} 个样本，epsilon 为 {epsilon:.3g}、delta 为 {delta:.1e}："
    "误报率为 {false_alarms:.0%} 时，任何检验都至多认出 {hits:.1%} 的用过这些样本的模型；"
    "若遗忘方法没有读取这些样本，对遗忘后的模型同样成立",
    "request_privacy_vacuous": "原模型以差分隐私训练：对单个样本，epsilon 为 {one:.3g}、delta 为 {one_delta:.1e}；"
    "但对本次请求的全部 {rows:,} 个样本，epsilon 为 {epsilon:.3g}、delta 为 {delta:.1e}，这等于什么也没有说："
    "误报率为 {false_alarms:.0%} 时，它容许检验认出 {hits:.1%} 的用过这些样本的模型；本次请求不受其保护",
    "statement_head": "在给定主干的前提下，分类头与未用遗忘数据拟合的分类头相比，"
    "满足 (ε, δ) = ({epsilon:g}, {delta:g})，仅对既不知道随机种子、也看不到 config.json 的人成立；"
    "残差上界已用去 {budget:.2g} 中的 {spent:.2g}（上次拟合以来的请求数：{requests}）。"
    "主干见过遗忘数据：对整个模型不作任何结论",
    "statement_head_published": "在给定主干的前提下，分类头与未用遗忘数据训练的分类头相比，"
    "满足 (ε, δ) = ({epsilon:g}, {delta:g})，仅对既不知道随机种子、也看不到 config.json 的人成立；"
    "若有人看到迄今发布的全部分类头（{publications} 个），则 ε 为 {together:.3g}。"
    "主干见过遗忘数据：对整个模型不作任何结论",
    "statement_head_exact": "在给定主干的前提下，分类头与未用遗忘数据拟合的分类头完全相同。"
    "主干见过遗忘数据：对整个模型不作任何结论",
    "statement_head_projected": "没有 (ε, δ)。在给定主干的前提下，"
    "分类头在 {inputs} 个输入方向中的 {span} 个上得到精确修改，在其余方向上完全不变。"
    "主干见过遗忘数据：对整个模型不作任何结论",
    "statement_weights": "可训练权重在加噪步骤之后满足 (ε, δ) = ({epsilon:g}, {delta:g})，"
    "比较对象是从任何其他起点开始的同样训练。噪声是所加权重的 {noise_to_weights:.3g} 倍；对冻结的权重不作任何结论",
    "remark": "{text}",
}
