// The page of a member's own node. It talks to that node and to nothing else: see the content security policy.
'use strict'

const words = {
  title: ['数据节点', 'data node'],
  door: ['本页由本机构自己的节点提供，仅限本机。所填的企业代码只发往本节点。请输入 datanode ui 显示的代码。', 'This page comes from your own node, on this machine only. A company’s code that you type goes to this node alone. Type the code that datanode ui shows.'],
  enter: ['进入', 'enter'], leave: ['退出', 'leave'], lang: ['English', '中文'],
  ask: ['查询', 'ask'], learns: ['谁知道什么', 'who learns what'], agreements: ['合约', 'agreements'],
  foot: ['可用不可见，附对手与各方所知；非商用密码认证产品。', 'Usable, not visible: always beside the adversary and who learns what. Not certified commercial cryptography.'],
  agreement: ['合约', 'agreement'], purpose: ['目的', 'purpose'], fields: ['字段', 'fields'], subject: ['统一社会信用代码', 'credit code'],
  subjects: ['统一社会信用代码，每行一个', 'credit codes, one a line'], consent: ['授权编号', 'consent'], consentKey: ['授权密钥（64 位十六进制）', 'consent key (64 hex digits)'],
  consents: ['每行：信用代码,授权编号,授权密钥', 'a line each: credit code,consent,consent key'],
  matched: ['重合的企业', 'in both'], ids: ['本名单', 'your list'], providers: ['供方名单（所报）', 'provider’s list, as announced'], answer: ['汇总', 'figures'],
  evidence: ['凭据：收据、快照', 'evidence: receipt, snapshot'], rows: ['行数', 'rows'], code: ['代码', 'code'],
  market: ['交易所', 'the market'], answers: ['答复', 'answers'], scores: ['得分', 'scores'], epoch: ['密钥期', 'key epoch'], table: ['表', 'table'], nonce: ['nonce', 'nonce'],
  spec: ['查询描述（JSON）', 'query (JSON)'], model: ['模型编号', 'model'], none: ['没有可用的合约', 'no agreement for this'],
  busy: ['正在进行…', 'working…'], billed: ['计费', 'billed'], receipt: ['收据', 'receipt'], outcome: ['结果', 'outcome'], learnt: ['本次各方所知', 'what each party learnt just now'],
  you: ['本行', 'you'], provider: ['供方节点', 'provider’s node'], service: ['授权服务', 'consent service'], others: ['其他人', 'others'],
  pre_loan: ['贷前', 'pre-loan'], post_loan: ['贷后', 'post-loan'], quota_review: ['额度年审', 'quota review'], evaluation: ['评估测试', 'evaluation'], research: ['研究', 'research'],
  operations: ['经营', 'operations'], verify: ['核验', 'verify'], file: ['密封文件', 'sealed file'], joint_statistics: ['联合统计', 'joint statistics'], active: ['有效', 'active'],
  values: ['值', 'values'], asOf: ['截止', 'as of'], knownAt: ['已知于', 'known at'], snapshot: ['数据集快照', 'dataset snapshot'],
  followed: ['已跟随账本至', 'followed the ledger to'], units: ['笔', 'units'], go: ['发送', 'send'],
}
const market = ['用量合计，不含对象', 'totals of use, never whom about']
const semi = ['半诚实：各方照协议行事，但会记录所见', 'semi-honest: everybody keeps to the protocol and remembers what they see']

// What the node offers, by operation: the form, where it is sent, and who learns what.
const modes = [
  { op: 'query', name: ['逐户查询', 'query'], path: '/v1/calls', form: ['agreement', 'purpose', 'fields', 'subject', 'consent', 'consentKey'],
    about: ['把企业代码发给供方节点，供方返回约定字段。', 'Sends the company’s code to the provider’s node, which answers the agreed fields.'],
    learns: { you: ['该企业的约定字段', 'the agreed fields of that company'], provider: ['查的是哪家企业、目的、时间', 'which company, for what, when'], market }, adversary: ['双方受合约约束；收据不可抵赖', 'both sides are bound by contract; receipts can’t be denied'] },
  { op: 'private_lookup', name: ['隐私查询', 'private lookup'], path: '/v1/lookups', form: ['agreement', 'purpose', 'subjects'],
    about: ['代码经盲化后发送：供方计费、作答，但不知查的是谁。', 'Codes are blinded first: the provider answers and is paid, and does not learn which.'],
    learns: { you: ['所查企业的行，及表的行数', 'the rows of those asked about, and the table’s size'], provider: ['笔数、目的、时间；不知是谁', 'how many, for what, when; never which'], market },
    adversary: ['对供方无条件隐藏；取整张表或注明 k 的分桶', 'hidden unconditionally from the provider; the whole table is fetched, or a bucket whose k is stated'] },
  { op: 'consent_lookup', name: ['授权绑定查询', 'consent-bound lookup'], path: '/v1/lookups', form: ['agreement', 'purpose', 'consents'],
    about: ['仅可查询账本上有授权的企业，供方仍不知是谁。凭证五分钟内有效；撤回后不再签发；已打开的行在密钥期内仍可打开。', 'Only companies whose consent is on the ledger; the provider still does not learn which. A ticket lives five minutes at most, none is given after revocation, opened rows stay open until the key epoch ends.'],
    learns: { you: ['有授权企业的行', 'the rows of those who consented'], provider: ['笔数、目的、时间；不知是谁', 'how many, for what, when; never which'], service: ['本行、企业、时间', 'you, the company, the time'], market },
    adversary: ['授权服务与供方合谋可知是谁', 'the consent service and the provider together can learn which'] },
  { op: 'history', own: true, name: ['企业自己的历史', 'a company’s own history'], path: '/v1/company-histories', form: ['subject'],
    about: ['授权服务为企业保留的历史：谁、何时、为何取得过关于它的凭证。只给企业本人看，先核实身份。', 'What the consent service keeps for a company: who was given a ticket about it, when and for what. For the company alone, once you know that it is the company.'],
    learns: { you: ['该企业的历史', 'the history of that company'], others: ['无', 'nothing'] }, adversary: ['授权服务与供方合谋可知是谁', 'the consent service and the provider together can learn which'] },
  { op: 'compute', name: ['统计计算', 'compute'], path: '/v1/queries', form: ['agreement', 'purpose', 'spec'],
    body: ({ agreement, purpose, spec }) => ({ agreement, purpose, spec }),
    about: ['在供方节点内计算，只返回加噪的汇总；样本过小不返回，隐私预算由全部使用方共用。', 'Computed inside the provider’s node; only noisy aggregates leave. Small cohorts are left out; the privacy budget is shared by all consumers.'],
    learns: { you: ['加噪汇总，及所耗预算', 'noisy aggregates, and the budget spent'], provider: ['查询的全文', 'the whole query'], market }, adversary: ['差分隐私 (ε, δ)', 'differential privacy (ε, δ)'] },
  { op: 'psi', name: ['名单求交', 'intersection'], path: '/v1/intersections', form: ['agreement', 'purpose', 'subjects'], send: intersect,
    about: ['本行名单与供方名单求交：本行知道哪些重合，供方只知道名单大小。', 'Your list and the provider’s: you learn which are in both, the provider how many you brought.'],
    learns: { you: ['重合的企业，及对方名单大小', 'the companies in both, and the size of the other list'], provider: ['本行名单的大小', 'the size of your list'], market }, adversary: semi },
  { op: 'joint_score', name: ['联合评分', 'joint score'], path: '/v1/scores', form: ['agreement', 'purpose', 'model', 'consents'],
    body: ({ agreement, purpose, model, consents }) => ({ agreement, purpose, model, subjects: consents.map(({ subject, ...c }) => ({ code: subject, ...c })) }),
    about: ['以本行已登记、经评估的加密模型，对供方特征评分。', 'Your registered, attested, encrypted model scores the provider’s features.'],
    learns: { you: ['每户的整数分，别无其他', 'an integer score of each company, and nothing else'], provider: ['哪些企业、模型的特征数；不知权重与得分', 'which companies, how many features; neither weights nor scores'], market },
    adversary: ['模型须经评估；每户评分次数有上限', 'a model is attested, and a company’s evaluations are capped'] },
]

let lang = (localStorage.getItem('lang') ?? (navigator.language.startsWith('zh') ? '0' : '1')) === '1' ? 1 : 0
let deals = []
let service = false // this node's member runs the consent service
let chosen = modes[0]
let last // answer shown

const $ = (id) => document.getElementById(id)
const say = (key) => (words[key] ?? [key, key])[lang]
const make = (tag, text, attrs = {}) => {
  const e = document.createElement(tag)
  if (text !== undefined) e.textContent = text
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v)
  return e
}

async function ask (method, path, body) {
  const r = await fetch(path, { method, headers: body ? { 'Content-Type': 'application/json' } : {}, body: body && JSON.stringify(body), credentials: 'same-origin', redirect: 'error' })
  const a = await r.json().catch(() => ({ code: 'failure', detail: String(r.status) }))
  if (!r.ok) throw Object.assign(new Error(a.detail ?? a.title ?? a.code), { code: a.code, status: r.status })
  return a
}

// An intersection goes on in the node, however long it takes; the page asks how far it is.
async function intersect ({ agreement, purpose, subjects }) {
  const r = await fetch('/v1/intersections?' + new URLSearchParams({ agreement, purpose }), { method: 'POST', body: subjects.join('\n') + '\n', credentials: 'same-origin', redirect: 'error' })
  let v = await r.json()
  if (!r.ok) throw Object.assign(new Error(v.detail ?? v.code), { code: v.code, status: r.status })
  while (v.state !== 'done') {
    if (v.state === 'refused') throw Object.assign(new Error(v.why ?? ''), { code: v.code })
    $('progress').textContent = `${say('busy')} ${v.stage ?? v.state} ${v.of ? `${v.progress}/${v.of}` : ''}`
    await new Promise((resolve) => setTimeout(resolve, 500))
    v = await ask('GET', `/v1/intersections/${v.intersection}`)
  }
  const m = await fetch(`/v1/intersections/${v.intersection}/matches`, { credentials: 'same-origin', redirect: 'error' })
  v.matched = (await m.text()).split(/\s+/).filter(Boolean)
  const { matched, ids, providers, receipt, learnt } = v
  return { matched, ids, providers, receipt, learnt: { you: learnt.bank, provider: learnt.provider } }
}

function texts () {
  document.documentElement.lang = lang ? 'en' : 'zh-CN'
  for (const e of document.querySelectorAll('[data-t]')) e.textContent = say(e.dataset.t)
  $('lang').textContent = say('lang')
  $('leave').textContent = say('leave')
}

const called = (d) => (lang ? d.titleEn : d.title) || `${d.agreement.slice(0, 8)}…`

function usable (op) { return deals.filter((d) => d.role === 'consumer' && d.state === 'active' && d.grant === 'active' && (d.policy.operations ?? []).includes(op)) }

function showModes () {
  $('modes').replaceChildren(...modes.filter((m) => !m.own || service).map((m) => {
    const b = make('button', m.name[lang], { type: 'button', role: 'tab', 'aria-selected': m === chosen })
    b.onclick = () => { chosen = m; last = undefined; $('answer').replaceChildren(); $('progress').textContent = ''; showModes() }
    return b
  }))
  $('about').textContent = chosen.about[lang]
  $('adversary').textContent = chosen.adversary[lang]
  $('learns').tBodies[0].replaceChildren(...Object.entries(chosen.learns).map(([who, what]) => row(say(who), what[lang])))
  showForm()
}

function row (head, cell) {
  const r = make('tr')
  r.append(make('th', head, { scope: 'row' }), cell instanceof Node ? cell : make('td', cell))
  return r
}

function showForm () {
  const f = $('query')
  f.replaceChildren()
  const ds = chosen.own ? [] : usable(chosen.op)
  if (!chosen.own && !ds.length) { f.append(make('p', say('none'), { class: 'quiet' })); return }
  const deal = () => ds.find((d) => d.agreement === f.elements.agreement.value) ?? ds[0]
  for (const name of chosen.form) {
    const l = make('label')
    l.append(make('span', say(name)))
    let e
    if (name === 'agreement') {
      e = make('select', undefined, { name })
      for (const d of ds) e.append(make('option', `${called(d)} · ${d.agreement.slice(0, 8)}`, { value: d.agreement }))
    } else if (name === 'purpose') {
      e = make('select', undefined, { name })
      for (const p of ds[0].policy.purposes) e.append(make('option', say(p), { value: p }))
    } else if (['subjects', 'consents', 'spec'].includes(name)) {
      e = make('textarea', undefined, { name, required: '', spellcheck: 'false', autocomplete: 'off' })
    } else {
      e = make('input', undefined, { name, autocomplete: 'off', spellcheck: 'false' })
      if (name === 'fields') e.value = ds[0].policy.fields.join(',')
      if (!name.startsWith('consent')) e.required = true
    }
    l.append(e)
    f.append(l)
  }
  if (f.elements.agreement) f.elements.agreement.onchange = () => {
    if (f.elements.fields) f.elements.fields.value = deal().policy.fields.join(',')
    f.elements.purpose.replaceChildren(...deal().policy.purposes.map((p) => make('option', say(p), { value: p })))
  }
  const go = make('button', say('go'), { type: 'submit' })
  f.append(go)
  f.onsubmit = async (ev) => {
    ev.preventDefault()
    go.disabled = true
    $('answer').replaceChildren()
    $('progress').textContent = say('busy')
    try { showAnswer(await (chosen.send ?? ((q) => ask('POST', chosen.path, q)))(request(f.elements))) } catch (e) { showRefusal(e) }
    $('progress').textContent = ''
    go.disabled = false
    room().catch(() => {})
  }
}

function request (es) {
  const lines = (s) => s.split(/\s*\n\s*/).filter(Boolean)
  const q = chosen.own ? {} : { operation: chosen.op }
  for (const name of chosen.form) {
    const v = es[name].value.trim()
    if (v === '') continue
    if (name === 'fields') q.fields = v.split(/\s*,\s*/)
    else if (name === 'subjects') q.subjects = lines(v)
    else if (name === 'consents') q.consents = lines(v).map((l) => { const [subject, consent, consentKey] = l.split(/[\s,]+/); return { subject, consent, consentKey } })
    else if (name === 'spec') q.spec = JSON.parse(v)
    else q[name] = v
  }
  return chosen.body ? chosen.body(q) : q
}

function value (v, key) {
  if (key === 'time' || key === 'asOf' || key === 'knownAt') return make('td', v ? new Date(Number(v)).toLocaleString(lang ? 'en' : 'zh-CN', { timeZone: 'Asia/Shanghai' }) : '')
  if (v === null || typeof v !== 'object') return make('td', String(v))
  const td = make('td')
  if (Array.isArray(v) && v.length && v.every((x) => x && typeof x === 'object')) {
    const keys = [...new Set(v.flatMap(Object.keys))]
    const t = make('table')
    const h = make('tr')
    h.append(...keys.map((k) => make('th', k)))
    t.append(h)
    for (const x of v.slice(0, 200)) {
      const r = make('tr')
      r.append(...keys.map((k) => value(x[k] ?? '', k)))
      t.append(r)
    }
    td.append(t)
  } else if (Array.isArray(v)) td.textContent = v.slice(0, 500).join(', ')
  else {
    const t = make('table')
    for (const [k, x] of Object.entries(v)) t.append(row(k, value(x, k)))
    td.append(t)
  }
  return td
}

function showAnswer (a) {
  last = a
  const t = make('table')
  const evidence = make('table')
  for (const [k, v] of Object.entries(a)) {
    if (v === '' || v === null || v === 0 || k === 'learnt') continue
    (['receipt', 'nonce', 'snapshot'].includes(k) ? evidence : t).append(row(say(k), value(v, k)))
  }
  $('answer').replaceChildren(t)
  if (a.learnt) {
    const l = make('table')
    for (const [who, what] of Object.entries(a.learnt)) l.append(row(say(who), value(what)))
    $('answer').append(make('h2', say('learnt')), l)
  }
  const d = make('details')
  d.append(make('summary', say('evidence')), evidence)
  $('answer').append(d)
}

function showRefusal (e) {
  const p = make('p', `${e.code ?? ''} ${e.message}`, { class: 'bad' })
  $('answer').replaceChildren(p)
  if (e.status === 401) enter()
}

async function room () {
  const [st, ag] = await Promise.all([ask('GET', '/v1/status'), ask('GET', '/v1/agreements')])
  deals = ag.agreements
  if (service !== !!st.consentService) { service = !service; showModes() }
  $('where').textContent = `${say('followed')} ${st.followed} · ${st.node.slice(0, 8)}`
  $('problems').textContent = Object.entries(st.problems ?? {}).map(([k, v]) => `${k}: ${v}`).join(' · ')
  const t = make('table')
  for (const d of deals) {
    const totals = d.consumer?.totals ?? d.provider?.totals
    const ops = (d.policy.operations ?? []).map((op) => modes.find((m) => m.op === op)?.name[lang] ?? words[op]?.[lang] ?? op).join(lang ? ', ' : '、')
    const cell = make('td', `${ops} · ${d.state === 'active' && d.grant === 'active' ? say('active') : `${d.state} · ${d.grant}`}`)
    if (totals) cell.append(make('br'), make('span', `${say('billed')} ${totals.units} ${say('units')}`, { class: 'quiet' }))
    t.append(row(called(d), cell))
  }
  $('agreements').replaceChildren(t)
}

function enter () {
  $('room').hidden = true
  $('leave').hidden = true
  $('door').hidden = false
  $('code').focus()
}

async function start () {
  texts()
  try { await room() } catch (e) {
    if (e.status !== 401) $('door-error').textContent = e.message
    enter()
    return
  }
  $('door').hidden = true
  $('room').hidden = false
  $('leave').hidden = false
  if (!usable(chosen.op).length) chosen = modes.find((m) => usable(m.op).length) ?? chosen
  showModes()
}

$('door').onsubmit = async (ev) => {
  ev.preventDefault()
  $('door-error').textContent = ''
  try { await ask('POST', '/ui/session', { code: $('code').value.trim() }); $('code').value = ''; await start() } catch (e) { $('door-error').textContent = e.message }
}
$('lang').onclick = () => { lang = 1 - lang; localStorage.setItem('lang', String(lang)); texts(); if (!$('room').hidden) { const a = last; showModes(); room().catch(() => {}); if (a) showAnswer(a) } }
$('leave').onclick = async () => { try { await ask('DELETE', '/ui/session') } finally { enter() } }
start()
