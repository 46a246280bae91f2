package rest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/projection"
)

// Prepare makes the bytes of a command for the caller's member. The body is brought into its canonical form and checked
// as the ledger will check it; whether it is accepted, only the ledger says.
func (h domainHandlers) Prepare(ctx context.Context, req api.PrepareRequestObject) (api.PrepareResponseObject, error) {
	c, _ := identity.CallerOf(ctx) // the document wants one
	b, err := json.Marshal(req.Body.Body)
	if err != nil {
		return nil, err
	}
	body, err := contracts.ParseBody(req.Body.Kind, b)
	if err != nil {
		return nil, err
	}
	key := contracts.PublicKey(req.Body.Key)
	if err := key.Check(); err != nil {
		return nil, newInvalid([]api.FieldError{{Field: "key", Detail: err.Error()}})
	}
	m, err := projection.ReadMarket(ctx, h.DB)
	if err != nil {
		return nil, err
	}
	now, err := m.Now(h.wall())
	if err != nil {
		return nil, err
	}
	u := contracts.Unsigned{Ledger: h.LedgerID, Member: c.Member, Kind: req.Body.Kind, Body: canon.Raw(body), NotBefore: now, Lead: key}
	rand.Read(u.Random[:])
	raw, id := u.Bytes()
	out := api.Prepare200JSONResponse{Raw: string(raw), Id: id, Duties: []string{}}
	for _, k := range contracts.Kinds() {
		if k.Name == req.Body.Kind {
			for _, d := range k.Duties {
				out.Duties = append(out.Duties, string(d))
			}
		}
	}
	out.Zh = fmt.Sprintf("会员 %s 的命令 %s，十分钟内有效，须由 %d 人签署。", c.Member, req.Body.Kind, max(1, len(out.Duties)))
	out.En = fmt.Sprintf("Command %s of member %s, valid for ten minutes, to be signed by %d.", req.Body.Kind, c.Member, max(1, len(out.Duties)))
	return out, nil
}
