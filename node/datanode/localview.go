package main

import (
	"maps"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/node/meter"
)

type localAgreement struct {
	Agreement contracts.ID             `json:"agreement"`
	Kind      contracts.AgreementKind  `json:"kind"`
	State     contracts.AgreementState `json:"state"`
	Grant     contracts.GrantState     `json:"grant"`
	Product   contracts.ID             `json:"product"`
	Version   contracts.ID             `json:"version"`
	Title     string                   `json:"title"`
	TitleEn   string                   `json:"titleEn"`
	Role      string                   `json:"role"`
	Policy    policy.Policy            `json:"policy"` // what the grant allows
	Provider  *meter.LogState          `json:"provider,omitempty"`
	Consumer  *localConsumer           `json:"consumer,omitempty"`
	Breach    string                   `json:"breach,omitempty"`
}

type localConsumer struct {
	Epoch      int64            `json:"epoch"`
	Size       int64            `json:"size"`      // checked
	Acked      int64            `json:"acked"`     // signed here
	Confirmed  int64            `json:"confirmed"` // by the provider
	Totals     contracts.Totals `json:"totals"`
	Waiting    int64            `json:"waiting,omitempty"` // the period whose close this node hasn't followed yet
	Objections []localObjection `json:"objections,omitempty"`
}

type localObjection struct {
	Seq  int64  `json:"seq"`
	What string `json:"what"`
}

func (n *Node) localAgreements(w http.ResponseWriter, r *http.Request) {
	deals, err := n.deals()
	if err != nil {
		n.localError(w, r, err)
		return
	}
	out := []localAgreement{}
	for _, d := range deals {
		x := localAgreement{Agreement: d.id, Kind: d.agreement.Kind, State: d.agreement.State, Grant: d.grant.State, Product: d.agreement.Product,
			Version: d.grant.Version, Role: "provider", Policy: d.grant.Policy}
		n.follower.View(func(v follow.View) {
			if ver := read[contracts.Version](v, contracts.KeyVersion(d.grant.Version)); ver != nil {
				x.Title, x.TitleEn = ver.Facts.Title, ver.Facts.TitleEn
			}
		})
		if d.agreement.Buyer == n.cfg.Member {
			x.Role = "consumer"
		}
		if s := n.serving(d.id); s != nil {
			st := s.log.State()
			x.Provider = &st
		}
		if c := n.consumer(d.id); c != nil {
			st := c.receipts.State()
			x.Consumer = &localConsumer{Epoch: st.Epoch, Size: st.Size, Acked: st.Acked, Confirmed: st.Confirmed, Totals: st.Totals, Waiting: st.Waiting}
			for _, o := range c.receipts.Objections() {
				x.Consumer.Objections = append(x.Consumer.Objections, localObjection{o.Seq, o.What})
			}
			if b := c.receipts.Breach(); b != nil {
				x.Breach = b.Error()
			}
		}
		out = append(out, x)
	}
	answer(w, map[string]any{"agreements": out})
}

type localDataset struct {
	Dataset string           `json:"dataset"`
	Digest  contracts.Hash   `json:"digest"`
	Rows    int64            `json:"rows"`
	AsOf    contracts.Millis `json:"asOf"`
}

func (n *Node) localStatus(w http.ResponseWriter, r *http.Request) {
	st := n.follower.Status()
	n.mu.Lock()
	problems := maps.Clone(n.problems)
	n.mu.Unlock()
	if st.Stop != nil {
		problems["following"] = st.Stop.Error()
	}
	if n.provider != nil {
		if err := n.provider.Err(); err != nil {
			problems["receipts"] = err.Error()
		}
	}
	if err := n.consents.Err(); err != nil {
		problems["consent counts"] = err.Error()
	}
	datasets := []localDataset{}
	for _, name := range n.vault.Names() {
		if d, ok := n.vault.Dataset(name); ok {
			datasets = append(datasets, localDataset{name, d.Digest(), d.Rows(), d.AsOf})
		}
	}
	service := false
	n.follower.View(func(v follow.View) {
		m := read[contracts.Member](v, contracts.KeyMember(n.cfg.Member))
		service = m != nil && m.Has(contracts.RoleConsentService)
	})
	out := map[string]any{"member": n.cfg.Member, "node": n.cfg.Node, "consentService": service, "followed": st.Size, "head": st.Head, "fresh": st.Fresh, "peers": n.peerAddr,
		"datasets": datasets, "problems": problems}
	if n.computing != nil {
		out["compute"] = n.computing.status()
	}
	answer(w, out)
}
