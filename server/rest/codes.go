package rest

import "github.com/bund-exchange/bund/contracts"

//go:generate go test -run TestAPICodesDoc -update .

// kind says what kind of answer a code is.
type kind string

const (
	kindRefusal kind = "refusal" // a deterministic "no"
	kindFailure kind = "failure" // nothing was decided; the same request may be sent again
	kindUnknown kind = "unknown" // it may have been done; the command's id tells
)

// codeDoc is the documentation of one code: what it means and what its caller can do about it.
type codeDoc struct {
	Code       contracts.Code
	Kind       kind
	Zh, En     string // meaning
	DoZh, DoEn string // what a caller can do
}

// apiCodes lists every code that is the API's own, beside the ledger's (contracts.Codes). The page of codes and
// docs/reference/api-codes.md are made from it.
var apiCodes = []codeDoc{
	{"request.rate", kindRefusal, "来自该地址的请求过多", "Too many requests from this address.", "按 Retry-After 等待后重试", "Wait as Retry-After says, and send it again."},
	{"request.path", kindRefusal, "没有这个路径", "Nothing is at this path.", "查阅 /docs", "See /docs."},
	{"request.method", kindRefusal, "该路径不支持此方法", "This path has no such method.", "查阅 /docs", "See /docs."},
	{"request.cross_origin", kindRefusal, "浏览器代其他网站的页面发出的请求", "A browser sent this for another site's page.", "从市场自己的页面发出", "Send it from the market's own pages."},
	{"request.csrf", kindRefusal, "会话中的写请求缺少标头 Bund-Csrf: 1", "A write in a session lacks the header Bund-Csrf: 1.", "加上该标头", "Send the header."},
	{"request.too_large", kindRefusal, "正文超过 4 MiB", "The body has more than 4 MiB.", "缩小正文，或分几次发送", "Send less, or in several requests."},
	{"request.media_type", kindRefusal, "正文类型不是接口文档所定，或不是 UTF-8，或带内容编码", "The body's type is not the one in the API's document, in UTF-8 without content encoding.", "按接口文档设置 Content-Type，不压缩", "Set the Content-Type of the document, and don't compress."},
	{"invalid_request", kindRefusal, "请求不符合接口文档", "The request doesn't fit the API's document.", "按 errors 所列字段改正", "Correct the fields that errors names."},
	{"not_found", kindRefusal, "不存在，或不对该调用方开放", "It isn't there, or not for this caller.", "核对编号与登录身份", "Check the id, and as whom you are signed in."},
	{"forbidden", kindRefusal, "账本没有给予该调用方此项权利", "The ledger gives this caller no right to it.", "由有此职责的人员或成员办理", "Let a person or member with the duty do it."},

	{"session.required", kindRefusal, "需要登录，或需要另一种登录方式", "It takes a sign-in, or another kind of sign-in.", "登录后重试；接口文档说明所需方式", "Sign in; the API's document says which way."},
	{"session.credentials", kindRefusal, "登录名与密码不符；不说明哪一项有误", "The login and password don't match an account; which is wrong is not told.", "核对后重试", "Check both, and try again."},
	{"session.blocked", kindRefusal, "失败次数过多；本次未核对密码", "Too many failed attempts; the password was not looked at.", "按 Retry-After 等待后重试", "Wait as Retry-After says, and try again."},

	{"client.credentials", kindRefusal, "缺少客户端编号与密钥，或两者不符", "The client's id and secret are missing or don't match.", "以 HTTP Basic 发送正确的编号与密钥", "Send the right id and secret as HTTP Basic."},
	{"client.token", kindRefusal, "令牌不存在或已过期", "The token is unknown or has expired.", "从 POST /oauth/token 取得新令牌", "Get a new one from POST /oauth/token."},
	{"client.name", kindRefusal, "名称须为 1 至 100 个字符", "A name has 1 to 100 characters.", "改正名称", "Correct the name."},
	{"client.member", kindRefusal, "不是成员编号", "It is not the id of a member.", "核对成员编号", "Check the member's id."},
	{"client.unknown", kindRefusal, "该成员没有此客户端", "The member has no such client.", "核对客户端编号", "Check the client's id."},

	{"account.login", kindRefusal, "登录名须为 3 至 100 个小写字母、数字或 @ . _ + -", "A login has 3 to 100 of a–z, 0–9 and @ . _ + -", "改正登录名", "Correct the login."},
	{"account.login_taken", kindRefusal, "登录名已被使用", "Another account has this login.", "换一个登录名", "Choose another."},
	{"account.name", kindRefusal, "姓名须为 1 至 100 个字符", "A name has 1 to 100 characters.", "改正姓名", "Correct the name."},
	{"account.person", kindRefusal, "不是成员或人员的编号", "It is not the id of a member, or not that of a person.", "核对账本上的编号", "Check the ids on the ledger."},
	{"account.password", kindRefusal, "密码须至少 12 个字符、至多 256 字节 UTF-8，且不含登录名", "A password has at least 12 characters, at most 256 bytes of UTF-8, and doesn't contain the login.", "换一个密码", "Choose another."},
	{"account.unknown", kindRefusal, "该成员没有此账户", "The member has no such account.", "核对账户编号", "Check the account's id."},

	{codeBehind, kindFailure, "所读的账本位置尚未投影完毕", "The read wants a position of the ledger that is not projected yet.", "按 Retry-After 等待后重试", "Wait as Retry-After says, and send it again."},
	{codeUnavailable, kindFailure, "账本、数据库或其他所需部分暂不可用，未作决定", "The ledger, the database or something else that it needs is not available now; nothing was decided.", "按 Retry-After 等待后重试同样的请求", "Wait as Retry-After says, and send the same request again."},
	{codeFailure, kindFailure, "内部错误，未作决定", "Something inside failed; nothing was decided.", "重试同样的请求；仍然失败则告知 requestId", "Send the same request again; if it stays, report the requestId."},
	{codeUnknown, kindUnknown, "可能已经执行：没有等到结果", "It may have been done: its result didn't come in time.", "先查询再重试：命令按 commandId 查询，或重发同样的字节", "Look it up before trying again: a command by its commandId, or submit the same bytes."},
}
