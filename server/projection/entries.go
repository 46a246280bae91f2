package projection

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/ledger"
)

// entryRows are the rows of proj.entries: who did what when, and who may read it. Bodies stay on the ledger.
type entryRows struct {
	position, time, rulebook, hash, kind, member, command, public, audience, objects []string
}

func (r *entryRows) add(e *ledger.Stored) error {
	var env contracts.Envelope
	if err := canon.Unmarshal(e.Raw, &env); err != nil {
		return fmt.Errorf("couldn't decode the command: %w", err)
	}
	r.position = append(r.position, strconv.FormatUint(e.Position, 10))
	r.time = append(r.time, strconv.FormatInt(int64(e.Time), 10))
	r.rulebook = append(r.rulebook, strconv.FormatInt(e.Rulebook, 10))
	r.hash = append(r.hash, hex.EncodeToString(e.Hash[:]))
	r.kind = append(r.kind, env.Kind)
	r.member = append(r.member, env.Member)
	r.command = append(r.command, string(env.ID))
	r.public = append(r.public, strconv.FormatBool(e.Public))
	r.audience = append(r.audience, Array(e.Audience))
	r.objects = append(r.objects, Array(e.Objects))
	return nil
}

func (r *entryRows) flush(ctx context.Context, tx *sqlx.Tx) error {
	u := Upsert{Table: "proj.entries"}
	u.Add("position", "bigint", r.position)
	u.Add("time", "bigint", r.time)
	u.Add("rulebook", "bigint", r.rulebook)
	u.Add("hash", "text", r.hash)
	u.Add("kind", "text", r.kind)
	u.Add("member", "text", r.member)
	u.Add("command", "text", r.command)
	u.Add("public", "boolean", r.public)
	u.Add("audience", "text[]", r.audience)
	u.Add("objects", "text[]", r.objects)
	return u.Exec(ctx, tx)
}
