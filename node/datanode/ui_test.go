package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser sends what a browser would.
type browser struct {
	t      *testing.T
	h      http.Handler
	host   string
	origin string
	site   string
	cookie *http.Cookie
}

func (b *browser) send(method, path string, body any, more ...string) *http.Response {
	b.t.Helper()
	var buf bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&buf).Encode(body); err != nil {
			b.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, path, &buf)
	r.Host = b.host
	for name, v := range map[string]string{"Origin": b.origin, "Sec-Fetch-Site": b.site} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	for i := 0; i+1 < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	resp := w.Result()
	for _, c := range resp.Cookies() {
		b.cookie = c
	}
	return resp
}

// newUI is the local API with one made-up resource behind it.
func newUI(t *testing.T, now func() time.Time) (*uiSessions, *browser) {
	u := &uiSessions{now: now}
	m := http.NewServeMux()
	u.handle(m)
	m.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		if !u.in(r) {
			refuse(w, http.StatusUnauthorized, "local.token", "no")
			return
		}
		answer(w, map[string]bool{"ok": true})
	})
	return u, &browser{t: t, h: m, host: "127.0.0.1:7000", origin: "http://127.0.0.1:7000", site: "same-origin"}
}

func (b *browser) enter(code string) int {
	b.t.Helper()
	return b.send("POST", "/ui/session", map[string]string{"code": code}).StatusCode
}

// A code lets one browser in, once, for five minutes.
func TestUICode(t *testing.T) {
	now := time.Now()
	u, b := newUI(t, func() time.Time { return now })
	if got := b.enter(""); got != http.StatusUnauthorized {
		t.Errorf("no code, and %d", got)
	}
	code := u.newCode()
	if got := b.send("POST", "/v1/calls", nil).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("not let in, and %d", got)
	}
	if got := b.enter(code); got != http.StatusOK {
		t.Fatalf("the code: %d", got)
	}
	if c := b.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Domain != "" {
		t.Errorf("cookie %v", c)
	}
	if got := b.send("POST", "/v1/calls", nil).StatusCode; got != http.StatusOK {
		t.Errorf("let in, and %d", got)
	}
	second := *b
	second.cookie = nil
	if got := second.enter(code); got != http.StatusUnauthorized {
		t.Errorf("the code again: %d", got)
	}
	code = u.newCode()
	now = now.Add(uiCodeLife + time.Second)
	if got := second.enter(code); got != http.StatusUnauthorized {
		t.Errorf("an old code: %d", got)
	}
	code = u.newCode()
	for range uiTries {
		second.enter("wrong")
	}
	if got := second.enter(code); got != http.StatusUnauthorized {
		t.Errorf("the code after %d wrong ones: %d", uiTries, got)
	}
	now = now.Add(uiSessionLife)
	if got := b.send("GET", "/v1/status", nil).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("an old session: %d", got)
	}
}

func TestUILeave(t *testing.T) {
	u, b := newUI(t, time.Now)
	b.enter(u.newCode())
	kept := *b.cookie
	if got := b.send("DELETE", "/ui/session", nil).StatusCode; got != http.StatusOK {
		t.Fatal(got)
	}
	b.cookie = &kept
	if got := b.send("GET", "/v1/status", nil).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("after leaving: %d", got)
	}
}

// Another page can't use the session: not from another origin, not by a name that was bound to this address.
func TestUIOrigin(t *testing.T) {
	u, b := newUI(t, time.Now)
	if got := b.enter(u.newCode()); got != http.StatusOK {
		t.Fatal(got)
	}
	for name, edit := range map[string]func(*browser){
		"another origin":    func(b *browser) { b.origin, b.site = "http://evil.example", "cross-site" },
		"another port":      func(b *browser) { b.origin, b.site = "http://127.0.0.1:8000", "same-site" },
		"no origin, abroad": func(b *browser) { b.origin, b.site = "", "cross-site" },
		"a form of old":     func(b *browser) { b.origin, b.site = "", "" },
		"a rebound name":    func(b *browser) { b.host, b.origin = "evil.example:7000", "http://evil.example:7000" },
		"origin null":       func(b *browser) { b.origin = "null" },
	} {
		x := *b
		edit(&x)
		if got := x.send("POST", "/v1/calls", nil).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
		u.newCode()
		if got := x.send("POST", "/ui/session", map[string]string{"code": u.code}).StatusCode; got != http.StatusForbidden {
			t.Errorf("%s lets itself in: %d", name, got)
		}
	}
	x := *b
	x.host = "evil.example:7000"
	if got := x.send("GET", "/ui/", nil).StatusCode; got != http.StatusForbidden {
		t.Errorf("the page under another name: %d", got)
	}
	if got := b.send("GET", "/v1/status", nil).StatusCode; got != http.StatusOK {
		t.Errorf("the page itself: %d", got)
	}
}

// The page loads nothing from elsewhere, and the browser is told to hold it to that.
func TestUIStaysHere(t *testing.T) {
	_, b := newUI(t, time.Now)
	for _, path := range []string{"/ui/", "/ui/app.js", "/ui/style.css"} {
		r := b.send("GET", path, nil)
		csp := r.Header.Get("Content-Security-Policy")
		if r.StatusCode != http.StatusOK || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "connect-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %d, policy %q", path, r.StatusCode, csp)
		}
	}
	abroad := regexp.MustCompile(`(https?:)?//[a-z0-9]|@import|<script>|style=|\bon[a-z]+=["']`)
	err := fs.WalkDir(uiFiles, "ui", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(uiFiles, path)
		if at := abroad.Find(text); at != nil {
			t.Errorf("%s holds %q", path, at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
