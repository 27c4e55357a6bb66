package console

import (
	"html/template"
	"net/http"
)

// Listener is one of the node's listeners, for the page that says what is where.
type Listener struct {
	Name, URL, Use string
}

// page is what the console's port answers at / until there is a console.
var page = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sluice</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem; color: #1c2733; background: #fff }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #d8dee6; vertical-align: top }
code { background: #f0f3f7; padding: .1rem .3rem; border-radius: 3px }
@media (prefers-color-scheme: dark) { body { color: #dbe2ea; background: #14191f } td, th { border-color: #333c47 } code { background: #222a33 } }
</style>
<h1>Sluice</h1>
<p>This node serves:</p>
<table>
<tr><th>What</th><th>Where</th><th>For</th></tr>
{{range .}}<tr><td>{{.Name}}</td><td><code>{{.URL}}</code></td><td>{{.Use}}</td></tr>
{{end}}</table>
<p>Credentials are in the file <code>credentials</code> of the node's data directory. In a shell on this machine,
<code>eval "$(sluice env --data DIR)"</code> sets them for the AWS CLI and psql.</p>
</html>
`))

// index answers with the page. It tells nothing that a look at the ports would not.
func (f *front) index(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = page.Execute(w, f.deps.Listeners) // the client is gone if it fails
}
