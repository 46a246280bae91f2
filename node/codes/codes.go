// Package codes documents what a data node answers beside the market's own refusals (contracts.Codes): the codes of its
// gate, its receipts, its peers and its local API.
package codes

import "github.com/bund-exchange/bund/contracts"

//go:generate go test -run TestNodeCodesDoc -update .

// Kind says what kind of answer a code is.
type Kind string

const (
	Refusal Kind = "refusal" // a deterministic "no": billed nothing, and no leaf is written
	Failure Kind = "failure" // nothing was decided; the same request may be sent again
	Unknown Kind = "unknown" // it may have been done; the request's nonce or the command's id tells
)

// Doc is the documentation of one code: who gives it, what it means and what its caller can do about it.
type Doc struct {
	Code       contracts.Code
	Kind       Kind
	Zh, En     string // meaning
	DoZh, DoEn string // what a caller can do
}

// Part is one part of the node and its codes.
type Part struct {
	Zh, En string
	Codes  []Doc
}

// Parts lists every code that is a node's own, in the order in which a call meets them. docs/reference/node-codes.md is
// made from it.
var Parts = []Part{
	{"本地接口", "Local API", []Doc{
		{"local.code", Refusal, "代码有误、已用过或超过五分钟", "The code is wrong, used or older than five minutes.", "再运行 datanode ui", "Run datanode ui again."},
		{"local.origin", Refusal, "请求来自其他页面或其他地址", "The request comes from another page or by another name.", "在本机打开 datanode ui 给出的地址", "Open the address that datanode ui prints, on this machine."},
		{"local.token", Refusal, "缺少本节点的令牌，或令牌不对", "The bearer token is missing or not this node's.", "用节点目录中 local.token 文件的令牌", "Send the token of the node's local.token file."},
		{"request.malformed", Refusal, "请求不是规定的唯一形式：字段、编号、时间或多余字节", "The request is not in its one form: a field, an id, a time, bytes too many.", "按说明改正", "Correct what the detail names."},
		{"dataset.unavailable", Refusal, "节点没有该产品或该名称的数据集", "The node has no dataset for the product, or of this name.", "导入数据集，并在节点配置 datasets 中对应产品", "Import one, and map the product to it in the node's configuration (datasets)."},
		{"receipts.breach", Refusal, "对方的收据链自相矛盾：不再签认其后的任何条目", "The provider's chain of receipts contradicts itself: nothing at or past that place is signed.", "查看 GET /v1/agreements 的证据；提出争议，之后双方开始新一期", "See the evidence in GET /v1/agreements; dispute it, then both sides begin a new epoch."},
		{"outcome_unknown", Unknown, "可能已经执行：没有等到答复", "It may have been done: no answer came in time.", "用同一 nonce 再次请求，或按命令号查询", "Ask again with the same nonce, or look up the command that the answer names."},
		{"failure", Failure, "本节点或对方故障，未作决定", "This node or the other side failed; nothing was decided.", "稍后重试同样的请求；见 GET /v1/status", "Send the same request again; see GET /v1/status."},
	}},
	{"对端", "Peer", []Doc{
		{"peer.unknown", Refusal, "对端密钥不属于账本上在役的节点，或应答者不是所呼叫的节点", "The peer's key is not that of a node in service on the ledger, or another node answers at the address.", "核对账本上节点的地址、密钥与状态", "Check the node's address, keys and state on the ledger."},
	}},
	{"闸口", "Gate", []Doc{
		{"LEDGER_STALE", Refusal, "节点所跟随的账本比授权允许的更旧", "The node's view of the ledger is older than the grant allows.", "等待节点跟上（见 GET /v1/status），再次请求", "Wait until the node has caught up (GET /v1/status), and ask again."},
		{"LEDGER_STOPPED", Refusal, "节点见到账本的两个历史，或有条目对它隐瞒：停止服务", "The node has seen two histories of the ledger, or an entry is withheld from it: it serves no more.", "保存证据，联系监管方", "Keep the evidence, and tell the regulator."},
		{"consent.used_up", Refusal, "授权的次数已用完", "The consent's calls are used up.", "取得新授权", "Obtain a new consent."},
		{"operation.unavailable", Refusal, "政策允许该操作，但节点不提供", "The policy permits the operation; this node doesn't offer it.", "使用查询", "Use a query."},
	}},
	{"联合评分", "Joint scoring", []Doc{
		{"score.model", Refusal, "不是规定形式的模型文件，或不是账本上登记的那一个", "Not a model file in its one form, or not the registered one.", "重新发送登记的模型；评估方核对评分卡与摘要", "Send the registered model again; the assessor compares card and digest."},
		{"score.suite", Refusal, "参数集与本节点的不同", "Other parameters than this node's.", "双方使用同一版本", "Use the same version on both sides."},
		{"score.spec", Refusal, "特征规格不成立：字段、分箱或取值范围", "The specification of features can't be: a field, its bins or its range.", "按说明改正评分卡", "Correct the scorecard as the detail says."},
		{"score.arity", Refusal, "字段、列数或权重个数与模型不符", "Fields, columns or weights are not as many as the model's, or not in its order.", "按模型的特征规格请求", "Ask with the model's own features."},
		{"score.value", Refusal, "权重或取值超出范围，得分可能溢出", "A weight or a value is out of range, or scores could wrap.", "缩小权重，或加大单位", "Use smaller weights, or a larger unit."},
		{"score.repeat", Refusal, "同一批中一家企业出现两次", "A company is there twice in one batch.", "去掉重复", "Name each company once."},
		{"score.cap", Refusal, "一家企业在本协议下的评分次数已用完（所有模型合计）", "A company has been scored as often as the agreement's models may, all together.", "去掉该企业；上限由规则书规定", "Leave the company out; the rulebook sets the cap."},
		{"score.answer", Refusal, "答复不是规定形式，或不属于该模型与密钥", "The answer is not in its one form, or not to this model and key.", "核对模型；向提供方提出", "Check the model, and tell the provider."},
	}},
	{"会话", "Sessions", []Doc{
		{"session.unknown", Refusal, "对方节点没有与本节点在该协议下的此会话", "The other node has no such session with this one under this agreement.", "重新发起会话", "Open a new session."},
		{"session.expired", Refusal, "会话已过期，其保存的内容已销毁", "The session's time is over, and what it kept is destroyed.", "重新发起会话", "Open a new session."},
		{"session.ended", Refusal, "会话已结束", "The session has ended.", "查看其结果；需要时重新发起", "See how it ended; open a new one where needed."},
		{"session.gap", Refusal, "消息帧序号不连续", "A frame does not follow those that are here.", "节点会自行续传", "The node goes on by itself."},
		{"session.changed", Refusal, "同一序号的消息帧内容不同", "A frame came with other bytes under a number that is taken.", "对方节点有误或由旧备份恢复；重新发起会话", "The other node is wrong or was restored from an old backup; open a new session."},
		{"session.too_large", Refusal, "消息帧或会话总量超过上限", "A frame, or all of a session, is larger than agreed.", "核对双方约定的规模", "Compare the sizes that both sides agreed."},
		{"session.differs", Refusal, "该会话编号已用于其他条件", "The session's id is taken, on other terms.", "使用新的编号", "Use a new id."},
		{"session.too_many", Refusal, "节点同时进行的会话已达上限", "The node runs as many sessions as it may.", "等待其他会话结束", "Wait until others have ended."},
		{"session.malformed", Refusal, "请求不是会话规定的形式", "The request is not in a session's one form.", "双方使用同一版本", "Use the same version on both sides."},
	}},
	{"隐私求交", "Set intersection", []Doc{
		{"intersection.unknown", Refusal, "本节点没有此编号的求交", "This node has no intersection with this id.", "核对编号", "Check the id."},
		{"intersection.underway", Refusal, "求交尚未结束", "The intersection is not over.", "等待其结束", "Wait until it is."},
		{"psi.frame", Refusal, "消息帧不是该处应有的形式", "A frame is not of the form that is due.", "双方使用同一版本", "Use the same version on both sides."},
		{"psi.order", Refusal, "消息帧重放、缺失或次序不对", "A frame was replayed, left out, or is out of place.", "对方未按协议执行；重新发起会话", "The other side did not follow the protocol; open a new session."},
		{"psi.params", Refusal, "对方的参数、角色或会话不符", "The other side's parameters, role or session are others.", "核对协议与双方版本", "Compare the agreement and both sides' versions."},
		{"psi.size", Refusal, "集合规模超过约定，或不是约定的档位", "A set is larger than agreed, or not rounded as agreed.", "减小名单，或变更协议", "Use a smaller list, or amend the agreement."},
		{"psi.count", Refusal, "元素个数与对方声明的不符", "Elements are more or fewer than announced.", "对方未按协议执行；重新发起会话", "The other side did not follow the protocol; open a new session."},
		{"psi.point", Refusal, "点的编码不唯一，或阶过小", "A point is not encoded canonically, or has small order.", "对方未按协议执行；提出争议", "The other side did not follow the protocol; dispute it."},
		{"psi.duplicate", Refusal, "对方集合中有重复的点", "The other side sent a point twice.", "对方核对其名单", "The other side looks at its list."},
		{"psi.commitment", Refusal, "收到的点或标签与承诺不符", "Points or tags are not those committed to.", "对方未按协议执行；重新发起会话", "The other side did not follow the protocol; open a new session."},
		{"psi.own_duplicate", Refusal, "一方自己的名单中有重复编号", "A side's own list has an id twice.", "去掉重复", "Name each id once."},
	}},
	{"隐私查询", "Private lookup", []Doc{
		{"lookup.building", Refusal, "该版本的表正在生成", "A table of this version is being built.", "等待其完成", "Wait until it is done."},
		{"lookup.malformed", Refusal, "查询、答复、分桶、密钥或承诺不是规定的唯一形式", "A request, answer, bucket, key or commitment is not in its one form.", "双方使用同一版本", "Use the same version on both sides."},
		{"lookup.element", Refusal, "点是单位元，或不是规范编码", "An element is the identity or not canonical.", "双方使用同一版本；向对方提出", "Use the same version on both sides, and tell the other side."},
		{"lookup.too_many", Refusal, "一次查询的企业，或一张表的行数，超过上限", "More companies than one request takes, or more rows than a table.", "分批查询", "Ask in batches."},
		{"lookup.twice", Refusal, "一家企业出现两次", "A company is there twice.", "去掉重复", "Name each company once."},
		{"lookup.units", Refusal, "计费数与所问企业数不符", "Other units than companies are asked about.", "双方使用同一版本", "Use the same version on both sides."},
		{"lookup.fields", Refusal, "查询打开整行：字段须为产品的全部字段", "A lookup opens whole rows: the fields are all that the product has.", "以全部字段请求；协议须包含全部字段", "Ask for all fields, under an agreement that has them all."},
		{"lookup.no_buckets", Refusal, "该表只能整张取用", "The table is given as a whole only.", "不用分桶", "Ask without buckets."},
		{"lookup.other_table", Refusal, "查询针对另一张表或另一期", "The request is for another table or epoch.", "跟随账本后重新查询", "Follow the ledger, and ask anew."},
		{"lookup.wrong_key", Refusal, "密钥不是账本上承诺的那一个", "The key is not the committed one.", "开始新一期", "Begin a new epoch."},
		{"lookup.proof", Refusal, "答复不是以承诺的密钥、按次序、对本次查询计算的", "The answer was not computed with the committed key, in order, for this request.", "保存证据，对该次用量提出争议", "Keep the evidence, and dispute the use."},
		{"lookup.table", Refusal, "表或其一部分不是账本上承诺的那一张", "The table, or a part of it, is not the committed one.", "不付费；保存证据，向供方与交易所提出", "Nothing was paid; keep the evidence, and tell the provider and the venue."},
		{"lookup.record", Refusal, "承诺的表中有一行打不开，或不是规定形式", "A row of the committed table doesn't open, or is not in its one form.", "保存证据，提出争议", "Keep the evidence, and dispute it."},
		{"lookup.row_too_long", Refusal, "一行超过表的记录长度", "A row is longer than the table's records.", "重新生成表", "Build the table anew."},
		{"lookup.too_few_rows", Refusal, "行数少于分桶的最少记录数，或没有行", "Fewer rows than a bucket must have, or none.", "减小分桶，或只提供整表", "State a smaller cohort, or give the whole table only."},
	}},
	{"授权凭证", "Tickets of a consent service", []Doc{
		{"ticket.malformed", Refusal, "申请或凭证不是规定的唯一形式", "The application or the ticket is not in its one form.", "双方使用同一版本", "Use the same version on both sides."},
		{"ticket.proof", Refusal, "没有证明盲化的点是该企业的，或证明用于另一申请", "A point is not shown to be its company's, or the proof is for another application.", "重新申请", "Apply anew."},
		{"ticket.life", Refusal, "凭证最多活五分钟", "A ticket lives for five minutes at most.", "申请更短的期限；校准时钟", "Ask for a shorter life, and set the clock."},
		{"ticket.foreign", Refusal, "凭证或申请属于另一银行、协议、目的、表、期次或授权服务", "For another bank, agreement, purpose, table, epoch or consent service.", "为本次查询重新申请", "Apply for this request."},
		{"ticket.points", Refusal, "凭证不是为这些点、按此次序签发的", "The ticket is for other points, or in another order.", "原样发送凭证所附的查询", "Send the request that the ticket was given for."},
		{"ticket.signature", Refusal, "凭证不是由表中写明的授权服务签发", "The ticket is not signed by the consent service that the table names.", "向该授权服务申请", "Apply to that consent service."},
		{"ticket.expired", Refusal, "凭证已过期", "The ticket's end has come.", "重新申请", "Apply anew."},
		{"ticket.spent", Refusal, "凭证已用于另一次调用", "The ticket was used for another call.", "重新申请", "Apply anew."},
	}},
	{"密封交付", "Sealed delivery", []Doc{
		{"hpke.key", Refusal, "没有在用的 HPKE 密钥：本节点没有，或账本上不是该成员的，或已撤销、到期", "No HPKE key in force: this node has none, or the ledger holds none of this member with the id.", "用 datanode keygen 生成，并以 key.add 登记（用途 hpke）", "Make one by datanode keygen, and add it to the member by key.add (purpose hpke)."},
		{"file.unknown", Refusal, "没有这个文件或分块，或文件尚未取全；每份协议只保留最近几个文件", "No such file or chunk, or it is not here as a whole; the newest files of an agreement are kept.", "取全分块；已清除的重新请求（计费）", "Fetch the remaining chunks; of a file that is gone, ask for a new one (billed)."},
		{"envelope.key", Refusal, "密封给了另一密钥，或该公钥无人能持有", "Sealed to another key, or to a key that nobody can have.", "核对账本上的 HPKE 密钥", "Check the HPKE key on the ledger."},
		{"envelope.binding", Refusal, "文件绑定的是另一协议、产品版本或数据集", "The file is bound to another agreement, product version or dataset.", "不要使用；向提供方提出", "Don't use it; take it up with the provider."},
		{"envelope.form", Refusal, "文件头、清单或密文不是规定形式", "Header, manifest or ciphertext is not in its one form.", "不要使用；向提供方提出", "Don't use it; take it up with the provider."},
		{"envelope.chunk", Refusal, "分块被改动、截断、调换，或不属于该文件与密钥", "A chunk was altered, cut, moved, or is not of this file and key.", "重新取该块；仍然如此则向提供方提出", "Fetch the chunk again; if it stays so, take it up with the provider."},
		{"envelope.digest", Refusal, "整个文件与清单的摘要或行数不符", "The whole file differs from the manifest's digests or number of rows.", "不要使用；以收据为证提出争议", "Don't use it; dispute it, with the receipt as proof."},
	}},
	{"联合统计", "Joint statistics", []Doc{
		{"statistics.budget", Refusal, "收集方为该任务设定的隐私预算已用完", "The privacy budget that the collector gives the task is spent.", "不再收集；或由收集方经评估后调高", "Collect no more; or the collector raises it after assessment."},
		{"statistics.contribution", Refusal, "该贡献编号下已有别的数值", "Other values were contributed under this id.", "换新编号", "Use a new id."},
		{"stats.task", Refusal, "任务不成立，或消息属于另一任务", "No task that can run, or the message belongs to another.", "核对账本上的任务", "Check the task on the ledger."},
		{"stats.form", Refusal, "消息不是规定的唯一形式", "A message is not in its one form.", "双方使用同一版本", "Use the same version on both sides."},
		{"stats.value", Refusal, "数值超出任务的度量范围", "A value is outside of what the task measures.", "改正数值", "Correct the values."},
		{"stats.replayed", Refusal, "报告编号已被占用，或同一消息中出现两次", "A report's id is taken, or there twice in one message.", "重新拆分为新的报告", "Split into new reports."},
		{"stats.share", Refusal, "份额打不开，或不属于该任务", "A share doesn't open, or is none of this task.", "核对接收方密钥后重新拆分", "Check the receiver's key and split anew."},
		{"stats.order", Refusal, "消息不在其次序或不由该角色发出", "A message out of its turn, or not this role's to send.", "按批次顺序；见 datanode stats status", "Go by the order of batches; see datanode stats status."},
		{"stats.batch", Refusal, "批次未关闭，报告数低于最小批量，或全部来自一家", "The batch is not closed, has too few reports, or all of them are of one contributor.", "等待更多报告", "Wait for more reports."},
		{"stats.spoiled", Refusal, "两个汇总方计入的报告不同：该批作废，无人得到总数", "The aggregators count different reports: the batch is spoiled and nobody gets its sum.", "收集下一批；反复出现则更换汇总方", "Collect the next batch; if it happens again, choose other aggregators."},
		{"stats.sum", Refusal, "份额之和不是任何报告所能给出：有汇总方改动了份额", "The shares add up to what no reports give: an aggregator altered its share.", "不要使用；更换汇总方", "Don't use it; choose other aggregators."},
		{"stats.collected", Refusal, "该批已以另外的份额得出结果", "The batch was collected with other shares.", "使用已有的结果", "Use the result that there is."},
	}},
	{"计算", "Computing", []Doc{
		{"compute.unavailable", Refusal, "该数据集没有隐私预算，不提供计算", "The dataset has no privacy budget: nothing is computed on it.", "请提供方在节点配置 datasets 中设置 compute", "Ask the provider to set compute in its node's configuration (datasets)."},
		{"compute.malformed", Refusal, "查询不是规定的唯一形式", "The query is not in its one form.", "由本节点的 POST /v1/queries 生成", "Let your own node write it (POST /v1/queries)."},
		{"compute.field", Refusal, "字段不存在、不在请求之列，或不能这样使用（主键、标识性文本、无序字段）", "No such field, one that the request doesn't name, or not for this use: the key, texts that name single subjects, an order that there isn't.", "按说明改用其他字段", "Use another field, as the detail says."},
		{"compute.value", Refusal, "取值或界限不是该字段的写法，或界限过宽", "A value or bound is not as the field is written, or bounds are too wide.", "按说明改正", "Correct what the detail names."},
		{"compute.budget", Refusal, "本期隐私预算（全体使用方共用）所剩不足", "What is left of the period's privacy budget, which all consumers share, is less than the query costs.", "减小 epsilon，或等待提供方开始新一期；相同查询仍可重复", "Ask for less epsilon, or wait for the provider's next period; a repeated query is still answered."},
		{"compute.queries", Refusal, "本期不同查询的数目已用完", "The period's number of different queries is used up.", "等待新一期；相同查询仍可重复", "Wait for the next period; a repeated query is still answered."},
		{"compute.cohort", Refusal, "某个数字背后的主体太少，或与此前答复所涉主体相差太少", "Too few subjects stand behind a figure, or too few by which they differ from an earlier answer's.", "放宽条件，或用已答复的条件与分组", "Widen the filters, or use filters and groups that were answered before."},
		{"compute.groups", Refusal, "分组过多", "There are too many groups.", "减少分组字段", "Group by less."},
	}},
	{"收据", "Receipts", []Doc{
		{"REQUEST_EXPIRED", Refusal, "请求编号过旧，或来自将来", "The request's id is older than its life, or from the future.", "校准时钟，换新 nonce", "Set the clock, and make a new nonce."},
		{"ID_REUSED", Refusal, "该 nonce 已用于另一请求", "The nonce was used for another request.", "换新 nonce", "Make a new nonce."},
		{"ALREADY_ACKNOWLEDGED", Refusal, "该答复已签认，不再保留", "The answer was acknowledged and is gone.", "使用已收到的答复，或以新 nonce 重新请求（计费）", "Use the answer you have, or ask under a new nonce, which is billed."},
		{"WINDOW_FULL", Refusal, "未签认的用量已达上限，或价格变更处尚未签认", "Too much is served and not acknowledged, or the price changes at a CLOSE that is not.", "使用方节点会自行签认，之后再次请求", "The consumer's node acknowledges by itself; then ask again."},
		{"TOO_MANY_UNITS", Refusal, "一次请求的计费数超过上限或未签认窗口", "One call asks for more units than a call or the window may hold.", "分批请求", "Ask for less at once."},
		{"QUOTA_EXCEEDED", Refusal, "授权的计费次数已用完", "The grant's billed calls are used up.", "订立新的或变更协议", "Make a new agreement or amend this one."},
		{"ESCROW_EXHAUSTED", Refusal, "累计金额将超过托管金额与宽限", "The accrued amount would pass escrow plus grace.", "补足托管资金", "Pay into the escrow."},
		{"EPOCH_MISMATCH", Refusal, "收据链处于另一期，或期次不相接", "The log is in another epoch, or epochs don't follow one another.", "查看 GET /v1/agreements；争议之后双方进入同一期", "See GET /v1/agreements; after a dispute both sides go to the same epoch."},
		{"LOG_BEHIND_ACK", Refusal, "签认超出提供方的收据链：其数据可能由旧备份恢复", "Acknowledged past the end of the provider's log, which may come from an old backup.", "提供方恢复完整的收据；否则提出争议", "The provider restores its receipts; else dispute it."},
		{"ACK_MISMATCH", Refusal, "签认的根或合计与收据链不符", "The acknowledged root or totals are not the log's.", "双方比对收据；否则提出争议", "Compare receipts; else dispute it."},
		{"ACK_SIGNATURE", Refusal, "签认不是使用方为本协议所签", "The acknowledgement is not signed by this agreement's consumer.", "核对账本上使用方节点的签认密钥", "Check the key of the consumer's node on the ledger."},
		{"ACK_OUT_OF_PLACE", Refusal, "签认跳过了 CLOSE，或把 VOID 与其条目分开", "The acknowledgement jumps over a CLOSE, or parts a VOID from its leaf.", "在 CLOSE 处签认", "Acknowledge at the CLOSE."},
		{"NOT_VOIDABLE", Refusal, "该条目不是 CALL，或已撤销", "The leaf is no CALL, or was taken back before.", "核对序号", "Check the sequence number."},
		{"CLOSE_OUT_OF_ORDER", Refusal, "更后的周期已关闭", "A later period is closed already.", "按顺序关闭周期", "Close periods in their order."},
		{"NO_ANSWER", Refusal, "该处没有答复", "No sealed answer is at this place.", "核对期次与序号", "Check epoch and sequence number."},
	}},
}
