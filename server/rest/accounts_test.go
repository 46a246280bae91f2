package rest

import (
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/api"
)

func TestChangePassword(t *testing.T) {
	s := serve(t, begun(t))
	s.account("zhang", s.Buyer.ID, "")
	here, there := s.signedIn("zhang"), s.signedIn("zhang")
	const better = "staple battery horse"
	change := func(old, new string) map[string]string { return map[string]string{"old": old, "new": new} }

	here.ask("PUT", "/session/password", change("not the password", better)).problem(t, 401, "session.credentials")
	here.ask("PUT", "/session/password", change(password, "zhang is my login")).problem(t, 422, "account.password")
	here.ask("PUT", "/session/password", change(password, "short")).problem(t, 400, "invalid_request")
	s.machine(s.Buyer.ID).ask("PUT", "/session/password", change(password, better)).problem(t, 401, "session.required")
	s.visitor().ask("PUT", "/session/password", change(password, better)).problem(t, 401, "session.required")
	there.ask("GET", "/session", nil).into(t, 200, nil) // what was refused has ended nothing

	here.ask("PUT", "/session/password", change(password, better)).into(t, 204, nil)
	here.ask("GET", "/session", nil).into(t, 200, nil)
	there.ask("GET", "/session", nil).problem(t, 401, "session.required")
	v := s.visitor()
	v.ask("POST", "/session", map[string]string{"login": "zhang", "password": password}).problem(t, 401, "session.credentials")
	v.ask("POST", "/session", map[string]string{"login": "zhang", "password": better}).into(t, 200, nil)
	if log := s.log.String(); strings.Contains(log, better) || strings.Contains(log, "not the password") {
		t.Error("a password is in the log")
	}
}

func TestAccountsOfAMember(t *testing.T) {
	s := serve(t, begun(t))
	s.account("bank-admin", s.Buyer.ID, s.Buyer.Person(0))
	s.account("bank-maker", s.Buyer.ID, s.Buyer.Person(1))
	s.account("bank-reader", s.Buyer.ID, "")
	s.account("seller-admin", s.Provider.ID, s.Provider.Person(0))
	s.account("venue-admin", s.Venue.ID, s.Venue.Person(0))
	admin, maker, reader := s.signedIn("bank-admin"), s.signedIn("bank-maker"), s.signedIn("bank-reader")
	seller, venue := s.signedIn("seller-admin"), s.signedIn("venue-admin")
	bank := "?member=" + string(s.Buyer.ID)

	byLogin := map[string]api.Account{}
	for path := "/accounts?limit=2"; path != ""; {
		var page api.AccountPage
		a := admin.ask("GET", path, nil)
		a.into(t, 200, &page)
		if len(page.Items) == 0 || len(page.Items) > 2 {
			t.Fatalf("%d accounts on a page of 2", len(page.Items))
		}
		for _, x := range page.Items {
			if x.Member != s.Buyer.ID || x.Created == 0 || x.Disabled != nil || byLogin[x.Login].Id != "" {
				t.Errorf("listed %+v", x)
			}
			byLogin[x.Login] = x
		}
		path = ""
		if page.Next != nil {
			path, _, _ = strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
		}
	}
	if len(byLogin) != 3 || byLogin["bank-reader"].Person != nil || *byLogin["bank-maker"].Person != string(s.Buyer.Person(1)) {
		t.Errorf("listed %+v", byLogin)
	}
	target := "/accounts/" + string(byLogin["bank-reader"].Id)

	// Only the member's own administrator, and the venue.
	for _, v := range []*visitor{maker, reader, s.machine(s.Buyer.ID)} {
		v.ask("GET", "/accounts", nil).problem(t, 403, "forbidden")
		v.ask("DELETE", target, nil).problem(t, 403, "forbidden")
	}
	seller.ask("GET", "/accounts"+bank, nil).problem(t, 403, "forbidden")
	seller.ask("DELETE", target+bank, nil).problem(t, 403, "forbidden")
	seller.ask("DELETE", target, nil).problem(t, 404, "account.unknown") // there is none among its own
	s.visitor().ask("GET", "/accounts", nil).problem(t, 401, "session.required")
	admin.ask("GET", "/accounts?cursor=x", nil).problem(t, 400, "invalid_request")
	admin.ask("DELETE", "/accounts/"+strings.Repeat("0", 32), nil).problem(t, 404, "account.unknown")
	reader.ask("GET", "/session", nil).into(t, 200, nil)

	for range 2 { // once more changes nothing
		admin.ask("DELETE", target, nil).into(t, 204, nil)
	}
	reader.ask("GET", "/session", nil).problem(t, 401, "session.required")
	s.visitor().ask("POST", "/session", map[string]string{"login": "bank-reader", "password": password}).problem(t, 401, "session.credentials")
	maker.ask("GET", "/session", nil).into(t, 200, nil)
	disabled := func(v *visitor) (ids []contracts.ID) {
		var page api.AccountPage
		v.ask("GET", "/accounts"+bank, nil).into(t, 200, &page)
		for _, x := range page.Items {
			if x.Disabled != nil {
				ids = append(ids, x.Id)
			}
		}
		return ids
	}
	if ids := disabled(venue); len(ids) != 1 || ids[0] != byLogin["bank-reader"].Id {
		t.Errorf("disabled are %v", ids)
	}
	venue.ask("DELETE", "/accounts/"+string(byLogin["bank-maker"].Id)+bank, nil).into(t, 204, nil)
	if ids := disabled(admin); len(ids) != 2 {
		t.Errorf("disabled are %v", ids)
	}
}
