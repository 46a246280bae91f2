package blockaudit

import (
	"bytes"
	"strings"
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/orderer"

	"github.com/bund-exchange/bund/ledger/fabric/blockaudit/blockaudittest"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// updated is a config update in the making: signed anew by whoever is to sign, and applied as Fabric would.
type updated struct {
	channel *channel // before
	update  *common.ConfigUpdate
	by      []*blockaudittest.Signer
	next    *common.ConfigEnvelope
}

func (u *updated) envelope(t testing.TB) *common.ConfigEnvelope {
	t.Helper()
	e := &common.ConfigUpdateEnvelope{ConfigUpdate: encoded(t, u.update)}
	for _, s := range u.by {
		h := encoded(t, &common.SignatureHeader{Creator: s.Identity, Nonce: []byte("n")})
		e.Signatures = append(e.Signatures, &common.ConfigSignature{SignatureHeader: h, Signature: s.Sign(append(bytes.Clone(h), e.ConfigUpdate...))})
	}
	u.next.LastUpdate = &common.Envelope{Payload: encoded(t, &common.Payload{Data: encoded(t, e),
		Header: &common.Header{ChannelHeader: encoded(t, &common.ChannelHeader{Type: int32(common.HeaderType_CONFIG_UPDATE), ChannelId: u.update.ChannelId})}})}
	return u.next
}

func (u *updated) write() *common.ConfigGroup { return u.update.WriteSet.Groups["Orderer"] }
func (u *updated) after() *common.ConfigGroup { return u.next.Config.ChannelGroup.Groups["Orderer"] }

// newUpdate changes the batch timeout of the recorded channel's first config, as its orderers' administrator may.
func newUpdate(t testing.TB, r *blockaudittest.Recording) *updated {
	t.Helper()
	first, id, err := genesisConfig(r.Blocks[0].Data.Data[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChannel(id, first.Config)
	if err != nil {
		t.Fatal(err)
	}
	old := first.Config.ChannelGroup
	was := old.Groups["Orderer"].Values["BatchTimeout"]
	now := &common.ConfigValue{Version: was.Version + 1, ModPolicy: was.ModPolicy, Value: encoded(t, &orderer.BatchTimeout{Timeout: "1s"})}
	part := func() *common.ConfigGroup {
		return &common.ConfigGroup{Version: old.Version, Groups: map[string]*common.ConfigGroup{"Orderer": {Version: old.Groups["Orderer"].Version, ModPolicy: "Admins",
			Values: map[string]*common.ConfigValue{}, Groups: map[string]*common.ConfigGroup{}, Policies: map[string]*common.ConfigPolicy{}}}}
	}
	u := &updated{channel: c, update: &common.ConfigUpdate{ChannelId: id, ReadSet: part(), WriteSet: part()}, by: []*blockaudittest.Signer{r.Signer("OrdererMSP.admin")}}
	u.write().Values["BatchTimeout"] = now
	u.next = &common.ConfigEnvelope{Config: proto.Clone(first.Config).(*common.Config)}
	u.next.Config.Sequence++
	u.after().Values["BatchTimeout"] = proto.Clone(now).(*common.ConfigValue)
	return u
}

func TestUpdate(t *testing.T) {
	r, err := blockaudittest.Load()
	if err != nil {
		t.Fatal(err)
	}
	group := func(edit func(*common.ConfigGroup)) func(*updated) {
		return func(u *updated) { // the orderers' group itself changes
			for _, g := range []*common.ConfigGroup{u.write(), u.after()} {
				g.Version++
				edit(g)
			}
		}
	}
	for name, c := range map[string]struct {
		edit  func(*updated)
		error string
	}{
		"as it should be":      {func(*updated) {}, ""},
		"with others beside":   {func(u *updated) { u.by = append([]*blockaudittest.Signer{r.Signer("VenueMSP.client")}, u.by...) }, ""},
		"signed by nobody":     {func(u *updated) { u.by = nil }, "not signed as Admins asks (MAJORITY Admins)"},
		"signed by another's":  {func(u *updated) { u.by = []*blockaudittest.Signer{r.Signer("VenueMSP.admin")} }, "not signed as Admins asks"},
		"signed by an orderer": {func(u *updated) { u.by = []*blockaudittest.Signer{r.Signer("OrdererMSP.orderer")} }, "not signed as Admins asks"},
		"a forged signature": {func(u *updated) {
			u.by = []*blockaudittest.Signer{r.Signer("VenueMSP.admin").As(r.Signer("OrdererMSP.admin").Identity)}
		}, "not signed as Admins asks"},
		"another channel":       {func(u *updated) { u.update.ChannelId = "other" }, "for the channel"},
		"the same sequence":     {func(u *updated) { u.next.Config.Sequence-- }, "sequence 0: want 1"},
		"another result":        {func(u *updated) { u.after().Values["BatchTimeout"].Value = nil }, "not what its update makes"},
		"something beside it":   {func(u *updated) { u.after().Values["BatchSize"].Version++ }, "not what its update makes"},
		"something lost":        {func(u *updated) { delete(u.after().Values, "BatchSize") }, "not what its update makes"},
		"a stale read":          {func(u *updated) { u.update.ReadSet.Groups["Orderer"].Version = 7 }, "read version 7 of group Channel/Orderer, which has version 0"},
		"a read of nothing":     {func(u *updated) { u.update.ReadSet.Groups["Nothing"] = &common.ConfigGroup{} }, "which is not there"},
		"no change":             {func(u *updated) { delete(u.write().Values, "BatchTimeout") }, "changes nothing"},
		"a version left out":    {func(u *updated) { u.write().Values["BatchTimeout"].Version++ }, "goes from version 0 to 2"},
		"no policy for changes": {func(u *updated) { u.write().Values["BatchTimeout"].ModPolicy = "" }, "names no policy"},
		"a new value, slipped in": {func(u *updated) { // its group stays at its version: then nobody was asked who may add to it
			u.write().Values["New"] = &common.ConfigValue{ModPolicy: "Admins"}
			u.after().Values["New"] = &common.ConfigValue{ModPolicy: "Admins"}
		}, "not what its update makes"},
		"a new value": {group(func(g *common.ConfigGroup) { // a write set names all that stays; this one loses the others
			g.Values["New"] = &common.ConfigValue{ModPolicy: "Admins"}
		}), "not what its update makes"},
		"a new value with a version": {group(func(g *common.ConfigGroup) { g.Values["New"] = &common.ConfigValue{ModPolicy: "Admins", Version: 3} }), "is new and has version 3"},
		"a name that is none":        {func(u *updated) { u.write().Values["a/b"] = &common.ConfigValue{ModPolicy: "Admins"} }, "is no name"},
		"an orderer's say over members": {func(u *updated) {
			was := u.next.Config.ChannelGroup.Groups["Application"]
			u.update.ReadSet.Groups["Application"] = &common.ConfigGroup{Version: was.Version}
			u.update.WriteSet.Groups["Application"] = &common.ConfigGroup{Version: was.Version, ModPolicy: was.ModPolicy,
				Policies: map[string]*common.ConfigPolicy{"Admins": {Version: was.Policies["Admins"].Version + 1, ModPolicy: "Admins"}}}
		}, "the change of policy Channel/Application/Admins is not signed"},
	} {
		u := newUpdate(t, r)
		c.edit(u)
		err := u.channel.follows(u.envelope(t))
		switch {
		case c.error == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.error != "" && (err == nil || !strings.Contains(err.Error(), c.error)):
			t.Errorf("%s: %v: want %s", name, err, c.error)
		}
	}
	u := newUpdate(t, r)
	e := u.envelope(t)
	e.LastUpdate = nil
	if err := u.channel.follows(e); err == nil {
		t.Error("a config without an update follows")
	}
	next, err := newChannel(u.channel.id, u.next.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.follows(u.envelope(t)); err == nil {
		t.Error("an update is taken twice")
	}
}

// TestUnauthorisedConfig lets dishonest orderers put a config on the channel that nobody asked for.
func TestUnauthorisedConfig(t *testing.T) {
	r, err := blockaudittest.Load()
	if err != nil {
		t.Fatal(err)
	}
	u := newUpdate(t, r)
	u.by = []*blockaudittest.Signer{r.Signer("OrdererMSP.orderer")}
	o := r.Signer("OrdererMSP.orderer")
	at := r.Update()
	r.Blocks[at].Data.Data[0] = blockaudittest.SignEnvelope(&common.Payload{Data: encoded(t, u.envelope(t)), Header: &common.Header{
		ChannelHeader:   encoded(t, &common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: blockaudittest.Channel}),
		SignatureHeader: encoded(t, &common.SignatureHeader{Creator: o.Identity, Nonce: []byte("n")})}}, o, nil)
	r.Blocks = r.Blocks[:at+1]
	r.Seal(at)
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	rep, err := Audit(t.Context(), Config{Dir: dir, Names: blockaudittest.Names})
	if err != nil {
		t.Fatal(err)
	}
	c := rep.Check(CheckConfig)
	if c.Failures != 1 || c.Where != blocks.FileName(uint64(at))+": transaction 0: config" || !strings.Contains(c.Detail, "not signed as Admins asks") || rep.Config != 0 {
		t.Errorf("%+v", c)
	}
}
