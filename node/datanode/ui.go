package main

import (
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The page for private queries. The node itself serves it, on loopback, so that what a person types, a company's credit
// code among it, goes to the member's own node and nowhere else: the page loads nothing from elsewhere and may connect
// to nothing else, which its content security policy holds browsers to.

//go:embed ui
var uiFiles embed.FS

const (
	uiCodeLife    = 5 * time.Minute
	uiSessionLife = 8 * time.Hour
	uiCookie      = "bund-node"
	uiTries       = 5 // wrong codes until the code is void
)

// uiSessions are the browsers that were let in: with a code that `datanode ui` shows and a person types, so that no
// secret is ever in an address. It is memory: a restart of the node signs everybody out.
type uiSessions struct {
	now func() time.Time

	mu       sync.Mutex
	code     string
	until    time.Time
	tries    int
	sessions map[[32]byte]time.Time // by digest of the cookie
}

// newCode makes the code that lets one browser in; an older one is void.
func (u *uiSessions) newCode() string {
	n, err := rand.Int(rand.Reader, big.NewInt(1_0000_0000))
	if err != nil {
		panic(err) // crypto/rand doesn't fail
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.code, u.until, u.tries = fmt.Sprintf("%08d", n), u.now().Add(uiCodeLife), uiTries
	return u.code
}

// enter takes a code once and gives a session's cookie.
func (u *uiSessions) enter(code string) (cookie string, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.code == "" || u.now().After(u.until) {
		return "", false
	}
	if sha256.Sum256([]byte(code)) != sha256.Sum256([]byte(u.code)) {
		if u.tries--; u.tries <= 0 {
			u.code = ""
		}
		return "", false
	}
	u.code = ""
	var b [32]byte
	rand.Read(b[:])
	cookie = hex.EncodeToString(b[:])
	if u.sessions == nil {
		u.sessions = map[[32]byte]time.Time{}
	}
	for k, until := range u.sessions {
		if u.now().After(until) {
			delete(u.sessions, k)
		}
	}
	u.sessions[sha256.Sum256([]byte(cookie))] = u.now().Add(uiSessionLife)
	return cookie, true
}

// leave ends a session.
func (u *uiSessions) leave(r *http.Request) {
	if c, err := r.Cookie(uiCookie); err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.sessions, sha256.Sum256([]byte(c.Value)))
	}
}

// in reports a request from a page that this node served to a browser that was let in. A page of another origin can't
// make one: the cookie stays with same-site requests, and the request says that it comes from this very origin.
func (u *uiSessions) in(r *http.Request) bool {
	c, err := r.Cookie(uiCookie)
	if err != nil || !fromHere(r) {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	until, ok := u.sessions[sha256.Sum256([]byte(c.Value))]
	return ok && !u.now().After(until)
}

// fromHere reports a request that the page itself sent: it names a loopback address, which a rebound name of somebody
// else's does not, and comes from the same origin.
func fromHere(r *http.Request) bool {
	if !loopbackHost(r.Host) {
		return false
	}
	if o := r.Header.Get("Origin"); o != "" {
		u, err := url.Parse(o)
		return err == nil && u.Host == r.Host
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "same-origin" || site == "none" || site == "" && r.Method == http.MethodGet
}

func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// handle adds the page to the local API.
func (u *uiSessions) handle(m *http.ServeMux) {
	files, err := fs.Sub(uiFiles, "ui")
	if err != nil {
		panic(err) // embedded
	}
	static := http.StripPrefix("/ui/", http.FileServerFS(files))
	m.HandleFunc("GET /ui/", func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			refuse(w, http.StatusForbidden, "local.origin", "this page is served under a loopback address only")
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		static.ServeHTTP(w, r)
	})
	m.HandleFunc("POST /ui/session", func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Code string `json:"code"`
		}
		if !fromHere(r) {
			refuse(w, http.StatusForbidden, "local.origin", "this request comes from another page")
			return
		}
		if !decode(w, r, &q) {
			return
		}
		c, ok := u.enter(q.Code)
		if !ok {
			refuse(w, http.StatusUnauthorized, "local.code", "the code is wrong, used or older than five minutes: run datanode ui again")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: uiCookie, Value: c, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(uiSessionLife / time.Second)})
		answer(w, map[string]bool{"ok": true})
	})
	m.HandleFunc("DELETE /ui/session", func(w http.ResponseWriter, r *http.Request) {
		if !u.in(r) {
			refuse(w, http.StatusUnauthorized, "local.token", "nobody is signed in here")
			return
		}
		u.leave(r)
		http.SetCookie(w, &http.Cookie{Name: uiCookie, Path: "/", MaxAge: -1})
		answer(w, map[string]bool{"ok": true})
	})
}
