package main

// help teaches a command, or all of them.
func (l lang) help(name string) string {
	h, ok := helps[name]
	if !ok {
		h = helps[""]
	}
	return l.say(h.en, h.zh)
}

var helps = map[string]struct{ en, zh string }{
	"": {en: `bundaudit: verify a ledger of the exchange without trusting it

  bundaudit verify  --trust trust.json DIR          audit an export: the whole ledger
  bundaudit proof   --trust trust.json FILE…        verify entries by their proof files; a trade certificate is one
  bundaudit show    DIR [POSITION]                  read an export's entries; verifies nothing
  bundaudit blocks  --dir DIR [--genesis HASH]      audit exported blocks of the permissioned network
  bundaudit witness --dir DIR --key-file FILE --log-key KEY
                                                    cosign the log, so that its operator can't show two histories
  bundaudit witness-accept --dir DIR --key-file FILE --trust trust.json --market URL
                                                    take up the log's new epoch after a loss that you have looked at
  bundaudit witness-key --name NAME --out FILE      make a witness's key

It needs no server and no network (witness excepted). All that it believes is in the trust root: the ledger's id, the
hash of its first entry, the log's and the witnesses' public keys. Get that file from somebody who is not the venue,
or compare it with what the regulator and another member have.

--lang zh|en, or LANG, chooses the language. bundaudit COMMAND --help tells more.
Exit code: 0 nothing failed, 1 something failed, 2 wrong usage, 3 a file can't be read.
`, zh: `bundaudit：核验交易所账本，无须信任交易所

  bundaudit verify  --trust trust.json DIR          审计一份导出证据：整个账本
  bundaudit proof   --trust trust.json FILE…        以证明文件核验条目；交易凭证亦是其一
  bundaudit show    DIR [POSITION]                  阅读证据中的条目；不作核验
  bundaudit blocks  --dir DIR [--genesis HASH]      审计许可网络导出的区块
  bundaudit witness --dir DIR --key-file FILE --log-key KEY
                                                    为日志共签，使运营方无法出示两种历史
  bundaudit witness-accept --dir DIR --key-file FILE --trust trust.json --market URL
                                                    查明丢失情况后，接受日志的新纪元
  bundaudit witness-key --name NAME --out FILE      生成见证人密钥

核验不需要服务器和网络（witness 除外）。所信任的一切都在信任根文件中：账本标识、首条哈希、日志与见证人的公钥。
该文件应从交易所以外取得，或与监管及其他会员所持者比对。

--lang zh|en 或 LANG 选择语言。bundaudit 命令 --help 有更多说明。
退出码：0 没有失败项，1 有失败项，2 用法错误，3 文件无法读取。
`},

	"verify": {en: `bundaudit verify --trust trust.json DIR [--json] [--seen CHECKPOINT]… [--lang zh|en]

Audits an export. One line per check: verified, not checkable (an opening is not supplied or is erased; with how many
were verified and how many not), or failed, with file and field of the first failure.

  manifest               signed by the log: which files, how large, for whom and why
  files                  they are what the manifest says; nothing more, nothing less
  entries                each has its one encoding
  hash chain             from the genesis that the trust root names, without a gap; times don't fall
  signatures             of every command, over the bytes as received
  rules replayed         every command run again: it was allowed, and did what the entry says
  published log          the entries make exactly the root that the log signed
  consistency            the export extends checkpoints that you have from before (--seen, several times)
  witness cosignatures   as many as the trust root wants have seen this head, and when
  accepted losses        entries that were lost from a backup, openly: which ones, and why
  openings               every private value fits its commitment; what is missing has an erasure on the ledger
  conservation of money  amounts computed anew; no fen was made or lost
  certificates           numbers, and what certificates tie together

Keep the checkpoint of every export that you have audited and give it to the next audit by --seen.
`, zh: `bundaudit verify --trust trust.json DIR [--json] [--seen CHECKPOINT]… [--lang zh|en]

审计一份导出证据。每项一行：已验证、不可核（私密值未提供或已删除，附已验证数与未能验证数）或失败（附首处失败的文件与字段）。

  证据清单          由日志签名：有哪些文件、大小、给谁、事由
  文件              与清单一致，不多不少
  条目格式          每条只有一种编码
  哈希链            自信任根所指创世条目起，没有缺口；时间不倒退
  签名              每条命令，对收到的原始字节
  规则重放          每条命令重新执行：确被允许，结果与条目一致
  公开日志          全部条目恰好得出日志签名的根
  与以往日志头一致  证据延续您以往持有的日志头（--seen，可多次）
  见证人共签        达到信任根要求的数目，以及时间
  已接受的丢失      因恢复备份而丢失并公开接受的条目：哪些、为何
  私密值开启        每个私密值与其承诺相符；缺失者账本上有删除记录
  资金守恒          金额重新计算；分文不多不少
  凭证              编号，以及凭证所关联的内容

每次审计后请保存其中的 checkpoint，下次以 --seen 给出。
`},

	"proof": {en: `bundaudit proof --trust trust.json FILE.tlog-proof… [--json] [--lang zh|en]

Verifies offline that each file's entry stands in the ledger, seen by a quorum of witnesses, with valid signatures,
and prints its command; of a certificate's entry, the certificate. Given a certificate together with other entries of
its trade, it says what they bear out: the agreement, the usage report, the settlement.

That the rules allowed the entry, and that nothing was revoked since, a proof can't show: bundaudit verify does.
`, zh: `bundaudit proof --trust trust.json FILE.tlog-proof… [--json] [--lang zh|en]

离线核验每个文件中的条目确在账本之中、已由法定数见证人见证、签名有效，并打印其命令；若为凭证条目则打印凭证。
若同时给出该笔交易的其他条目，则说明它们佐证了什么：协议、用量报告、结算。

条目是否合乎规则、其后是否被撤销，证明文件无法表明：请用 bundaudit verify。
`},

	"show": {en: `bundaudit show DIR [POSITION] [--kind PREFIX] [--object ID] [--lang zh|en]

Prints the entries of an export, one a line: position, time, kind, member, events. --kind keeps those whose kind
begins so (movement., certificate.issue), --object those that touch an object. With POSITION it prints one entry
whole: command, signatures, writes, and the private values that the export opens. It verifies nothing.
`, zh: `bundaudit show DIR [POSITION] [--kind PREFIX] [--object ID] [--lang zh|en]

打印证据中的条目，每条一行：位置、时间、种类、会员、事件。--kind 只留种类以此开头者（movement.、certificate.issue），
--object 只留涉及某对象者。给出 POSITION 则完整打印一条：命令、签名、写入，以及证据所开启的私密值。不作核验。
`},

	"blocks": {en: `bundaudit blocks --dir DIR [--genesis HASH] [--evidence DIR] [--json] [--lang zh|en]

Audits blocks of a Hyperledger Fabric channel, exported from any peer: a folder with 000000000000.block and so on, from
the first block without a gap. It asks no peer. A block's hash covers its transactions and not which of them are valid,
so that is worked out again from the channel's config, the chaincode definitions and all that was written before.

  files               one block each, in its one encoding
  genesis             the first block has the hash that you trust (--genesis)
  header chain        every header names the one before
  block data          the transactions are those that the header names
  orderer signatures  as the channel's config in force asks; which config that is
  channel config      every change follows from an update that those signed whom the config before asks for
  creators            of valid transactions: signature, certificate, id, right to write; what was endorsed is what was proposed
  endorsements        of valid transactions: as the chaincode definition in force asks
  validity flags      of all transactions: valid, or invalid for this reason (policy, read conflict, repeat, signature)
  certificates        were in force when used; the network itself doesn't ask that of blocks
  commit hashes       the peer's state after each block was the one that the blocks give
  entries             what the market's chaincode did has the form of entries
  evidence package    its entries are those that the blocks give (--evidence, an export of the ledger)

  --genesis   64 hexadecimal digits, from somebody who is not the venue. Without it nothing says which channel this is
  --market, --clearing  names of the chaincode definitions, when they are others

Not checkable, and said so: SmartBFT orderers, endorsement policies of single keys, private data, validation code of a
chaincode's own, range queries with hashed results. Blocks can't show that they are the newest: compare the last block's
hash with another organisation. Rules and money are checked by bundaudit verify, on the evidence package.
`, zh: `bundaudit blocks --dir DIR [--genesis HASH] [--evidence DIR] [--json] [--lang zh|en]

审计 Hyperledger Fabric 通道的区块，可自任一节点导出：目录中为 000000000000.block 等，自首块起没有缺口。不询问任何节点。
区块哈希覆盖交易，却不覆盖哪些交易有效；因此由通道配置、链码定义及此前全部写入重新得出。

  文件          每个文件一个区块，且为其唯一编码
  创世区块      首块哈希即您所信任者（--genesis）
  区块链接      每个区块头指向前一个
  区块数据      交易与区块头所载一致
  排序节点签名  符合当时通道配置的要求，以及当时配置为何
  通道配置      每次变更均出自更新，并由前一配置所要求者签署
  发起人签名    有效交易：签名、证书、编号、写入权限，且所背书者即所提议者
  背书          有效交易：符合当时链码定义的要求
  有效性标志    全部交易：有效，或因此无效（策略、读冲突、重复、签名）
  证书有效期    使用时在有效期内；网络本身对区块不作此要求
  提交哈希      每块之后节点的状态与区块得出者一致
  条目推导      市场链码所为具有条目的形式
  与证据一致    证据中的条目即区块得出者（--evidence，账本的导出证据）

  --genesis   64 位十六进制，取自交易所以外。没有它就无从得知是哪个通道
  --market、--clearing  链码定义的名称，如有不同

不可核者将予说明：SmartBFT 排序、单个键的背书策略、私有数据、链码自有的校验代码、结果为哈希的范围查询。
区块无法表明自己是最新：请与其他机构比对末块哈希。规则与资金由 bundaudit verify 就证据核验。
`},

	"witness": {en: `bundaudit witness --dir DIR --key-file FILE --log-key KEY [--listen 127.0.0.1:7470] [--begin]

Runs a witness (C2SP tlog-witness) of one log until Ctrl-C. It cosigns a checkpoint only if it extends what it
cosigned before. Everything rests on the folder: a witness that forgets what it signed would sign a second history.
So an empty folder is refused unless you say --begin, once, for a log that this witness has never cosigned; never
restore an old copy of the folder. What contradicts an earlier checkpoint is kept in DIR/evidence.

  --key-file   from bundaudit witness-key; only its owner may read it
  --log-key    public key of the log, from the trust root (logKey)
  --listen     address; put TLS in front where the log is not on this machine. GET /healthz says that it runs
`, zh: `bundaudit witness --dir DIR --key-file FILE --log-key KEY [--listen 127.0.0.1:7470] [--begin]

运行一个日志的见证人（C2SP tlog-witness），直至 Ctrl-C。仅当新日志头延续此前所签者才共签。一切取决于该目录：
遗忘所签内容的见证人会为第二种历史签名。因此空目录会被拒绝，除非您对从未共签过的日志使用一次 --begin；
切勿恢复旧的目录副本。与此前日志头相矛盾者保存在 DIR/evidence。

  --key-file   由 bundaudit witness-key 生成；只有所有者可读
  --log-key    日志公钥，见信任根（logKey）
  --listen     地址；日志不在本机时请在前面加 TLS。GET /healthz 表示正在运行
`},

	"witness-accept": {en: `bundaudit witness-accept --dir DIR --key-file FILE --trust trust.json --market URL

The market was restored from a backup that lacks entries which this witness has cosigned, and the venue has accepted
the loss on the ledger. A witness goes on only at the word of its own operator: ask what happened first. With the
witness stopped, this follows the public log from its beginning, checks that two people of the venue signed the
acceptance and that the log still begins with the last checkpoint that this witness cosigned of what was kept, prints
what is lost, and takes up the new epoch. Both heads are kept in DIR/evidence. Then start the witness again.
`, zh: `bundaudit witness-accept --dir DIR --key-file FILE --trust trust.json --market URL

市场自备份恢复，缺少本见证人曾共签的条目，交易所已在账本上公开接受丢失。见证人只凭自己运营者的决定继续：请先查明原因。
在见证人停止时，本命令自头跟随公开日志，核验接受确由交易所两人签署、且日志仍以本见证人对保留部分的最后一次共签为开头，
打印丢失范围，然后进入新纪元。两个日志头均保存于 DIR/evidence。之后重新启动见证人。
`},

	"witness-key": {en: `bundaudit witness-key --name NAME --out FILE

Makes a witness's key. The private key goes to FILE, which must not exist and which only you may read; the public key
is printed: it goes into the trust root and the market's configuration. NAME is a name of yours, like
regulator.example/witness-1; no other key may have it.
`, zh: `bundaudit witness-key --name NAME --out FILE

生成见证人密钥。私钥写入 FILE（须不存在，仅您可读）；公钥打印在屏幕上，用于信任根和市场配置。
NAME 为您自己的名字，如 regulator.example/witness-1；其他密钥不得使用。
`},
}
