package network

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"path/filepath"
	"text/template"
)

//go:embed templates
var templates embed.FS

// render fills a template of Fabric's configuration. path joins the network's folder with names, in quotes.
func (n *Network) render(name string, data any) ([]byte, error) {
	t, err := template.New(name).Funcs(template.FuncMap{"path": n.quoted}).Option("missingkey=error").ParseFS(templates, "templates/"+name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("couldn't write %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// quoted is a path below the network's folder as a YAML string.
func (n *Network) quoted(elem ...string) string {
	b, _ := json.Marshal(n.path(elem...))
	return string(b)
}

func (n *Network) path(elem ...string) string {
	return filepath.Join(append([]string{n.dir}, elem...)...)
}
