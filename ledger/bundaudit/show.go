package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
)

var errEnough = errors.New("enough was read")

// show prints entries for people. It verifies nothing.
func show(c *command) error {
	var kind, object string
	if err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&kind, "kind", "", "")
		fs.StringVar(&object, "object", "", "")
	}); err != nil {
		return err
	}
	if err := c.files(1, 2, "DIR [POSITION]"); err != nil {
		return err
	}
	dir, only := c.params[0], int64(-1)
	if len(c.params) == 2 {
		n, err := strconv.ParseInt(c.params[1], 10, 63)
		if err != nil || n < 0 {
			return &usageError{fmt.Sprintf(c.lang.say("%q is no position", "%q 不是条目位置"), c.params[1])}
		}
		only = n
	}
	names := map[contracts.ID]string{}
	found := false
	err := evidence.EachEntry(dir, func(position uint64, b []byte) error {
		e, err := ledger.DecodeEntry(b)
		if err != nil {
			if only < 0 || only == int64(position) {
				found = true
				fmt.Fprintln(c.out, clean(fmt.Sprintf("%8d  %v", position, err)))
			}
			return nil
		}
		for _, w := range e.Writes {
			if id, ok := strings.CutPrefix(w.Key, "member/"); ok {
				if m, err := contracts.Read[contracts.Member](w.Value); err == nil {
					names[contracts.ID(id)] = m.Name
				}
			}
		}
		cmd, err := contracts.Decode(contracts.Submission{Raw: e.Raw, Signatures: e.Signatures})
		switch {
		case only == int64(position):
			found = true
			return errors.Join(c.showOne(dir, b, e, cmd, err, names), errEnough)
		case only >= 0:
		case err != nil:
			fmt.Fprintln(c.out, clean(fmt.Sprintf("%8d  %s  %v", position, when(e.Time), err)))
		case strings.HasPrefix(cmd.Kind, kind) && (object == "" || touches(e, contracts.ID(object))):
			fmt.Fprintln(c.out, clean(fmt.Sprintf("%8d  %s  %s %s  %s", position, when(e.Time), pad(cmd.Kind, 22), c.called(cmd, names), events(e))))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if only >= 0 && !found {
		return fmt.Errorf(c.lang.say("the export has no entry %d", "证据中没有第 %d 条"), only)
	}
	fmt.Fprintln(c.err, c.lang.say("Nothing was verified: bundaudit verify does that.", "以上内容未经核验；核验请用 bundaudit verify。"))
	return nil
}

func touches(e *ledger.Entry, id contracts.ID) bool {
	return slices.Contains(e.Objects, id) || slices.ContainsFunc(e.Events, func(v contracts.Event) bool { return v.Object == id })
}

func events(e *ledger.Entry) string {
	var out []string
	for _, v := range e.Events {
		if v.Object == "" {
			out = append(out, v.Name)
		} else {
			out = append(out, v.Name+" "+string(v.Object))
		}
	}
	return strings.Join(out, ", ")
}

// called names the member of a command as the ledger does.
func (c *command) called(cmd *contracts.Command, names map[contracts.ID]string) string {
	if n := names[contracts.ID(cmd.Member)]; n != "" {
		return n
	}
	return member(cmd)
}

func (c *command) showOne(dir string, b []byte, e *ledger.Entry, cmd *contracts.Command, bad error, names map[contracts.ID]string) error {
	say := c.lang.say
	var o strings.Builder
	h := ledger.Hash(b)
	fmt.Fprintf(&o, say("entry %d, %s, under rulebook %d\n", "第 %d 条，%s，规则第 %d 版\n"), e.Position, when(e.Time), e.Rulebook)
	fmt.Fprintf(&o, say("hash %x, before it %x\n", "哈希 %x，前一条 %x\n"), h, e.Prev)
	switch {
	case e.Public:
		fmt.Fprintln(&o, say("public", "公开"))
	default:
		var who []string
		for _, id := range e.Audience {
			if n := names[id]; n != "" {
				who = append(who, n+" "+string(id))
			} else {
				who = append(who, string(id))
			}
		}
		fmt.Fprintf(&o, say("for %s, the venue and regulators\n", "可见：%s，以及交易场所与监管\n"), strings.Join(who, ", "))
	}
	if bad != nil {
		fmt.Fprintf(&o, say("command that nobody should rely on: %v\n", "命令不可采信：%v\n"), bad)
	} else {
		fmt.Fprintf(&o, say("command %s %s by %s\n", "命令 %s %s，会员 %s\n"), cmd.Kind, cmd.ID, c.called(cmd, names))
	}
	fmt.Fprintln(&o, indent(e.Raw, "  "))
	for _, s := range e.Signatures {
		fmt.Fprintf(&o, say("signed by %s: %s\n", "签名 %s：%s\n"), s.Key, hex.EncodeToString(s.Sig))
	}
	for _, v := range e.Events {
		fmt.Fprintf(&o, say("event %s %s\n", "事件 %s %s\n"), v.Name, v.Object)
	}
	for _, w := range e.Writes {
		if w.Value == nil {
			fmt.Fprintf(&o, say("deletes %s\n", "删除 %s\n"), w.Key)
		} else {
			fmt.Fprintf(&o, say("writes %s\n%s\n", "写入 %s\n%s\n"), w.Key, indent(w.Value, "  "))
		}
	}
	wanted := hashes(e)
	if err := evidence.EachOpening(dir, func(k contracts.KeptOpening) error {
		if slices.Contains(wanted, string(k.Commitment)) {
			fmt.Fprintf(&o, say("opens %s as %s\n%s\n", "开启 %s，%s\n%s\n"), k.Commitment, k.Tag, indent(k.Opening.Value, "  "))
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Fprint(c.out, clean(o.String()))
	return nil
}

var digest = regexp.MustCompile(`"[0-9a-f]{64}"`)

// hashes lists the digests in an entry: its commitments are among them.
func hashes(e *ledger.Entry) (out []string) {
	add := func(b []byte) {
		for _, x := range digest.FindAll(b, -1) {
			out = append(out, string(x[1:65]))
		}
	}
	add(e.Raw)
	for _, w := range e.Writes {
		add(w.Value)
	}
	return out
}

// indent lays JSON out for reading; what is none stays as it is.
func indent(b []byte, prefix string) string {
	var out bytes.Buffer
	if json.Indent(&out, b, prefix, "  ") != nil {
		return prefix + string(b)
	}
	return prefix + out.String()
}
