package api_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/ci"
)

// whole leaves something of each kind behind: output, an artifact, a report.
const whole = `
phases:
  build:
    commands:
      - echo hello
      - write out.txt some bytes
      - write r.xml '<testsuite name="s"><testcase classname="c" name="t" time="0.1"/></testsuite>'
artifacts: {files: [out.txt], name: results}
reports: {unit: {files: [r.xml], file-format: JUNITXML}}
`

// access is one operation of the table: who may do it, and what he then gets.
type access struct {
	least ci.Role
	ok    int
	where string // "" = in a project, "server" = about the whole server, "list" = for all, of what one may see, "token" = of another user, "open" = for everybody
	body  string
	spoil bool // it changes what others would need
	path  string
	query string
	owned int // what a token of the project gets, where that is not what its user gets; 0 = it is
}

// table has a row for each operation. One without a row fails the test.
var table = map[string]access{
	"getLoad":            {least: ci.RoleNone, ok: 200, where: "list"},
	"listBudgets":        {least: ci.RoleNone, ok: 200, where: "list"},
	"getBudget":          {least: ci.RoleViewer, ok: 200},
	"setBudget":          {least: ci.RoleAdmin, ok: 200, body: `{"minutes":1000000,"warn":[50]}`},
	"deleteBudget":       {least: ci.RoleAdmin, ok: 204},
	"getServerBudget":    {least: ci.RoleViewer, ok: 200, where: "server"},
	"setServerBudget":    {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"minutes":1000000,"warn":[50]}`},
	"deleteServerBudget": {least: ci.RoleAdmin, ok: 204, where: "server"},

	"listProjects":    {least: ci.RoleNone, ok: 200, where: "list"},
	"createProject":   {least: ci.RoleMaintainer, ok: 201, where: "server", body: `{"name":"%s","source":{"type":"git","location":"https://example.com/x.git"}}`},
	"getProject":      {least: ci.RoleViewer, ok: 200},
	"updateProject":   {least: ci.RoleMaintainer, ok: 200, spoil: true, body: `{"source":{"type":"git","location":"https://example.com/x.git"}}`},
	"deleteProject":   {least: ci.RoleMaintainer, ok: 204, spoil: true},
	"listAllBuilds":   {least: ci.RoleNone, ok: 200, where: "list"},
	"listBuilds":      {least: ci.RoleViewer, ok: 200},
	"startBuild":      {least: ci.RoleBuilder, ok: 201, spoil: true},
	"getBuild":        {least: ci.RoleViewer, ok: 200},
	"stopBuild":       {least: ci.RoleBuilder, ok: 200},
	"retryBuild":      {least: ci.RoleBuilder, ok: 201, spoil: true},
	"deleteBuild":     {least: ci.RoleMaintainer, ok: 204, spoil: true},
	"followEvents":    {least: ci.RoleViewer, ok: 200},
	"getLog":          {least: ci.RoleViewer, ok: 200},
	"getStepLog":      {least: ci.RoleViewer, ok: 200, path: "build/BUILD/0"},
	"getRetention":    {least: ci.RoleViewer, ok: 200},
	"applyRetention":  {least: ci.RoleMaintainer, ok: 200},
	"listReportTrend": {least: ci.RoleViewer, ok: 200},
	"listTests":       {least: ci.RoleViewer, ok: 200},
	"listLines":       {least: ci.RoleViewer, ok: 200},
	"followLines":     {least: ci.RoleViewer, ok: 200},
	"listSteps":       {least: ci.RoleViewer, ok: 200},
	"listArtifacts":   {least: ci.RoleViewer, ok: 200},
	"getArtifact":     {least: ci.RoleViewer, ok: 200, path: "build/results/out.txt"},
	"getArchive":      {least: ci.RoleViewer, ok: 200},
	"listReports":     {least: ci.RoleViewer, ok: 200},
	"getUpload":       {least: ci.RoleBuilder, ok: 404},
	"putUpload":       {least: ci.RoleBuilder, ok: 201, body: emptyTree},
	"listUsers":       {least: ci.RoleAdmin, ok: 200, where: "server"},
	"getUser":         {least: ci.RoleAdmin, ok: 200, where: "server"},
	"putUser":         {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"role":"viewer","projects":{"web":"builder"}}`},
	"deleteUser":      {least: ci.RoleAdmin, ok: 204, where: "server"},
	"getMe":           {least: ci.RoleNone, ok: 200, where: "list"},
	"listTokens":      {least: ci.RoleNone, ok: 200, where: "list"},
	"createToken":     {least: ci.RoleNone, ok: 201, where: "list", body: `{"scopes":["role:viewer","project:other"]}`, owned: 403},
	"whyBuild":        {least: ci.RoleViewer, ok: 200},
	"getUsage":        {least: ci.RoleNone, ok: 200, where: "list"},
	"rebuildUsage":    {least: ci.RoleAdmin, ok: 200, where: "server"},
	"revokeToken":     {least: ci.RoleAdmin, ok: 204, where: "token"},
	"login":           {ok: 401, where: "open", body: `{"user":"%s","password":"wrong"}`},
	"loginMethods":    {ok: 200, where: "open"},
	"handover":        {ok: 401, where: "open", body: `{"code":"x","secret":"y"}`},
	"logout":          {ok: 409, where: "list"}, // a token is no session
	"setPassword":     {least: ci.RoleAdmin, ok: 204, where: "server", body: `{"password":"correct horse"}`},
	"listGroups":      {least: ci.RoleAdmin, ok: 200, where: "server"},
	"getGroup":        {least: ci.RoleAdmin, ok: 200, where: "server"},
	"putGroup":        {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"role":"viewer"}`},
	"deleteGroup":     {least: ci.RoleAdmin, ok: 204, where: "server"},
	"addMember":       {least: ci.RoleAdmin, ok: 204, where: "server"},
	"removeMember":    {least: ci.RoleAdmin, ok: 204, where: "server"},
	"listAudit":       {least: ci.RoleAdmin, ok: 200, where: "server"},
	"listNodes":       {least: ci.RoleAdmin, ok: 200, where: "server"},

	// Targets of notifications, of all projects and of one.
	"listTargets":           {least: ci.RoleAdmin, ok: 200, where: "server"},
	"getTarget":             {least: ci.RoleAdmin, ok: 200, where: "server"},
	"putTarget":             {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"kind":"webhook","url":"https://example.com/hook"}`},
	"deleteTarget":          {least: ci.RoleAdmin, ok: 204, where: "server"},
	"testTarget":            {least: ci.RoleAdmin, ok: 200, where: "server"},
	"listDeliveries":        {least: ci.RoleAdmin, ok: 200, where: "server"},
	"redeliver":             {least: ci.RoleAdmin, ok: 200, where: "server"},
	"listProjectTargets":    {least: ci.RoleMaintainer, ok: 200},
	"getProjectTarget":      {least: ci.RoleMaintainer, ok: 200},
	"putProjectTarget":      {least: ci.RoleMaintainer, ok: 200, body: `{"kind":"webhook","url":"https://example.com/hook"}`},
	"deleteProjectTarget":   {least: ci.RoleMaintainer, ok: 204},
	"testProjectTarget":     {least: ci.RoleMaintainer, ok: 200},
	"listProjectDeliveries": {least: ci.RoleMaintainer, ok: 200},
	"redeliverProject":      {least: ci.RoleMaintainer, ok: 200},
	"listSecrets":           {least: ci.RoleBuilder, ok: 200},
	"getSecret":             {least: ci.RoleBuilder, ok: 200, query: "?name=/a/secret"},
	"setSecret":             {least: ci.RoleMaintainer, ok: 200, body: `{"name":"/a/secret","value":"hush"}`},
	"pruneSecret":           {least: ci.RoleMaintainer, ok: 200, body: `{"name":"/a/secret","keep":1}`},
	"deleteSecret":          {least: ci.RoleMaintainer, ok: 204, spoil: true, query: "?name=/a/secret"},
	"listGlobalSecrets":     {least: ci.RoleAdmin, ok: 200, where: "server"},
	"getGlobalSecret":       {least: ci.RoleAdmin, ok: 200, where: "server", query: "?name=/a/global"},
	"setGlobalSecret":       {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"name":"/a/global","value":"hush"}`},
	"pruneGlobalSecret":     {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"name":"/a/global","keep":1}`},
	"deleteGlobalSecret":    {least: ci.RoleAdmin, ok: 204, where: "server", query: "?name=/doomed"},
	"grantSecret":           {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"name":"/a/global","projects":["other"]}`},
	"issueIDToken":          {least: ci.RoleViewer, ok: 403, body: `{"audience":"x"}`}, // for the build alone
	"rotateIdentityKeys":    {least: ci.RoleAdmin, ok: 204, where: "server"},
	"rotateMasterKey":       {least: ci.RoleAdmin, ok: 200, where: "server", body: `{"forget":true}`},
}

// operations lists those of the document: their method, path and description.
func operations(doc *huma.OpenAPI, f func(method, path string, op *huma.Operation)) {
	for path, item := range doc.Paths {
		for method, op := range map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete,
			http.MethodPatch: item.Patch, http.MethodHead: item.Head, http.MethodOptions: item.Options, http.MethodTrace: item.Trace,
		} {
			if op != nil {
				f(method, path, op)
			}
		}
	}
}

// caller is somebody who asks.
type caller struct {
	name  string
	token string
	role  ci.Role // in the project that is asked about
	what  string  // "nobody", "scoped" = the token is for another project, "stranger" = has a role elsewhere only, "owned" = the token is for this project
}

func (c caller) want(row access) int {
	switch {
	case row.where == "open":
		return row.ok
	case c.what == "nobody":
		return http.StatusUnauthorized
	case c.what == "owned" && row.owned != 0:
		return row.owned
	case row.where == "list":
		return row.ok
	case row.where == "server" && (c.what != "" || !c.role.AtLeast(row.least)):
		return http.StatusForbidden
	case row.where == "server":
		return row.ok
	case row.where == "token" && (c.what == "owned" || !c.role.AtLeast(row.least)):
		return http.StatusNotFound
	case c.what == "scoped" || c.what == "stranger":
		return http.StatusNotFound
	case !c.role.AtLeast(row.least):
		return http.StatusForbidden
	}
	return row.ok
}

// TestAccess tries every operation as everybody.
func TestAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	built := func(name string) {
		w.project(name, whole)
		w.secret(name, "/a/secret")
		w.start(name, client.StartBuild{})
		if b := w.done(name, 1); b.Status != client.Succeeded {
			t.Fatalf("got %s: %s", b.Status, b.Reason)
		}
	}
	built("shared")
	w.project("other", whole)
	for _, name := range []string{"/a/global", "/doomed"} {
		w.secret("", name)
	}
	callers := []caller{
		{name: "no token", what: "nobody"},
		{name: "rubbish", token: "slu_rubbish", what: "nobody"},
		{name: "unknown token", token: "slu_" + strings.Repeat("A", 43), what: "nobody"},
		{name: "disabled", token: w.user(ci.User{Name: "gone", Role: ci.RoleAdmin, Disabled: true}), what: "nobody"},
		{name: "stranger", token: w.user(ci.User{Name: "stranger", Projects: map[string]ci.Role{"other": ci.RoleMaintainer}}), what: "stranger"},
		{name: "admin narrowed to viewer", token: w.user(ci.User{Name: "chief", Role: ci.RoleAdmin}, "role:viewer"), role: ci.RoleViewer},
	}
	for _, r := range ci.Roles() {
		callers = append(callers,
			caller{name: string(r), token: w.user(ci.User{Name: string(r), Role: r}), role: r},
			caller{name: string(r) + ", foreign token", token: w.user(ci.User{Name: string(r), Role: r}, "project:other"), role: r, what: "scoped"})
	}
	// Tokens of the project that is asked about: all of it, and nothing beside it.
	var owned []caller
	for _, r := range ci.Roles() {
		owned = append(owned, caller{name: string(r) + ", token of the project", role: r, what: "owned"})
	}
	seen := map[string]bool{}
	n := 0
	operations(w.api.OpenAPI(), func(method, path string, op *huma.Operation) {
		row, ok := table[op.OperationID]
		if !ok {
			t.Errorf("%s (%s %s) has no row in the table of access: say who may do it", op.OperationID, method, path)
			return
		}
		seen[op.OperationID] = true
		for _, c := range slices.Concat(callers, owned) {
			project := "shared"
			if n++; row.spoil {
				project = fmt.Sprintf("spoilt-%d", n)
				built(project)
			}
			if c.what == "owned" {
				c.token = w.user(ci.User{Name: string(c.role), Role: c.role}, "project:"+project)
			}
			someone, id := fmt.Sprintf("someone-%d", n), ""
			if strings.Contains(path, "{name}") || strings.Contains(path, "{id}") {
				id = w.userID(ci.User{Name: someone, Role: ci.RoleViewer})
			}
			group := fmt.Sprintf("group-%d", n)
			if strings.Contains(path, "{group}") {
				if _, err := w.store.PutGroup(t.Context(), ci.Group{Name: group}); err != nil {
					t.Fatal(err)
				}
			}
			target := ""
			if strings.Contains(path, "{target}") {
				target = w.target(strings.Contains(path, "{project}"), project, fmt.Sprintf("target-%d", n))
			}
			at := strings.NewReplacer("{target}", target, "{group}", group, "{project}", project, "{number}", "1", "{path}", row.path, "{name}", someone, "{id}", id, "{sum}", sumOf(row.body)).Replace(path) + row.query
			body := row.body
			if strings.Contains(body, "%s") {
				body = fmt.Sprintf(body, fmt.Sprintf("new-%d", n))
			}
			status, header, answer := w.raw(method, api.Prefix+at, c.token, body)
			if want := c.want(row); status != want {
				t.Errorf("%s as %s: got %d, want %d: %s", op.OperationID, c.name, status, want, answer)
			}
			if status >= 400 && header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s as %s: got an error as %s", op.OperationID, c.name, header.Get("Content-Type"))
			}
			if row.where == "list" && (c.what == "scoped" || c.what == "stranger") && strings.Contains(answer, "shared") {
				t.Errorf("%s as %s shows what he may not see: %s", op.OperationID, c.name, answer)
			}
			if c.what == "scoped" && status == 404 {
				// What one may not see is not found in the words of what is not there.
				_, _, missing := w.raw(method, api.Prefix+strings.Replace(at, project, "missing", 1), c.token, row.body)
				if strings.ReplaceAll(answer, project, "missing") != missing {
					t.Errorf("%s as %s: got %s; for what is not there %s", op.OperationID, c.name, answer, missing)
				}
			}
		}
	})
	for id := range table {
		if !seen[id] {
			t.Errorf("there is no operation %s any more: take its row away", id)
		}
	}
}

// TestPrivateProject has one role for the server and none in a private project.
func TestPrivateProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("hidden", whole)
	p.Private = true
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.start("hidden", client.StartBuild{})
	w.project("open1", whole)
	builder := w.client(w.user(ci.User{Name: "b", Role: ci.RoleMaintainer}))
	_, err := builder.Project(t.Context(), "hidden")
	wantError(t, err, 404, "not_found", "hidden")
	page, err := builder.Projects(t.Context(), "", client.Paging{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Name != "open1" {
		t.Errorf("got projects %+v, %v; want open1 alone", page.Items, err)
	}
	builds, err := builder.Builds(t.Context(), client.BuildFilter{})
	if err != nil || len(builds.Items) != 0 {
		t.Errorf("got builds %+v, %v; want none", builds.Items, err)
	}
	// A token for the project gives no right that its user does not have.
	scoped := w.client(w.user(ci.User{Name: "b", Role: ci.RoleMaintainer}, "project:hidden"))
	_, err = scoped.Project(t.Context(), "hidden")
	wantError(t, err, 404, "not_found", "hidden")
	member := w.client(w.user(ci.User{Name: "m", Projects: map[string]ci.Role{"hidden": ci.RoleViewer}}))
	if _, err := member.Project(t.Context(), "hidden"); err != nil {
		t.Error(err)
	}
	_, _, err = member.StartBuild(t.Context(), "hidden", client.StartBuild{})
	wantError(t, err, 403, "denied", "builder")
	w.done("hidden", 1)
}

// TestOpenDoors has a maintainer and a builder ask for what would let a build
// read the server's own files.
func TestOpenDoors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("web", whole)
	git := client.Source{Type: "git", Location: "https://example.com/x.git"}
	maintainer := w.client(w.user(ci.User{Name: "m", Role: ci.RoleMaintainer}))
	builder := w.client(w.user(ci.User{Name: "b", Role: ci.RoleBuilder}))
	create := func(p client.Project) error { _, err := maintainer.CreateProject(t.Context(), p); return err }
	update := func(p client.Project) error { _, err := maintainer.UpdateProject(t.Context(), p); return err }
	start := func(r client.Runtime) error {
		_, _, err := builder.StartBuild(t.Context(), "web", client.StartBuild{Runtime: r})
		return err
	}
	wantError(t, create(client.Project{Name: "data", Source: client.Source{Type: "directory", Location: w.dir}}), 403, "denied", "directory on the server")
	wantError(t, create(client.Project{Name: "data", Source: git, Runtime: client.Runtime{Isolation: "none"}}), 403, "denied", "without isolation")
	wantError(t, create(client.Project{Name: "data", Source: git, Runtime: client.Runtime{Privileged: true}}), 403, "denied", "privileged")
	elsewhere := p
	elsewhere.Source.Location = w.dir
	wantError(t, update(elsewhere), 403, "denied", "directory on the server")
	elsewhere.Revision = 0
	wantError(t, update(elsewhere), 403, "denied", "directory on the server")
	p.Description, p.Revision = "the directory that an administrator gave it", 0
	if err := update(p); err != nil {
		t.Errorf("nothing opened: %v", err)
	}
	wantError(t, start(client.Runtime{Isolation: "none"}), 403, "denied", "without isolation")
	wantError(t, start(client.Runtime{Privileged: true}), 403, "denied", "privileged")
	p.Runtime = client.Runtime{Isolation: "none", Privileged: true}
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := start(client.Runtime{Isolation: "none", Privileged: true}); err != nil {
		t.Errorf("an administrator allowed it: %v", err)
	}
	w.done("web", 1)
	err := create(client.Project{Name: "leak", Source: client.Source{Type: "git", Location: "https://me:s3cret@example.com/x.git"}})
	if e := wantError(t, err, 422, "invalid", "password"); strings.Contains(e.Error(), "s3cret") {
		t.Errorf("the answer shows the password: %v", e)
	}
}

func TestArtifactsAndReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	list, err := w.admin.Artifacts(t.Context(), "web", 1)
	if err != nil || len(list) != 1 || list[0].Open != "build/results" || !slices.Equal(list[0].Entries, []client.Entry{{Path: "out.txt", Size: 11}}) {
		t.Fatalf("got %+v, %v; want the folder results of job build, with out.txt", list, err)
	}
	f, err := w.admin.OpenArtifact(t.Context(), "web", 1, "build/results/out.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 100)
	n, _ := f.Read(buf)
	if string(buf[:n]) != "some bytes\n" || f.Name != "out.txt" || f.Size != 11 {
		t.Errorf("got %q, %q of %d bytes", buf[:n], f.Name, f.Size)
	}
	_, h, _ := w.raw("GET", "/api/v1/projects/web/builds/1/artifacts/build/results/out.txt", w.token, "")
	if h.Get("Content-Disposition") != "attachment; filename=out.txt" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got headers %v: a browser may take it for a page", h)
	}
	// What lies beside the artifact is not to be had by any name.
	out := filepath.Join(w.dir, "out", firstID(t, w), "build")
	if err := os.WriteFile(filepath.Join(out, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(out, "artifacts", "results", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "artifacts", "results-of-others"), []byte("root:"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"build/results-of-others", "build/results/../../secret", "build/results/..%2f..%2fsecret", "build/results/%2e%2e/%2e%2e/secret", "build/secret", "build/results/link",
		"build/results", "build//results/out.txt", "build/results/out.txt%00", "build/results/out.txt/", "%2fetc%2fpasswd", "results/out.txt", "build", "..", "%00", "build%5cresults",
	} {
		status, _, body := w.raw("GET", "/api/v1/projects/web/builds/1/artifacts/"+name, w.token, "")
		if status != 404 && status != 422 || strings.Contains(body, "root:") {
			t.Errorf("%s: got %d %.100s; want 404 or 422", name, status, body)
		}
	}
	reports, err := w.admin.Reports(t.Context(), "web", 1)
	if err != nil || len(reports) != 1 || reports[0].Summary.Succeeded != 1 || reports[0].Job != "build" {
		t.Errorf("got %+v, %v; want one report of one test", reports, err)
	}
}

// firstID is the ID of the first build of web.
func firstID(t *testing.T, w *world) string {
	t.Helper()
	b, err := w.admin.Build(t.Context(), "web", 1)
	if err != nil {
		t.Fatal(err)
	}
	return b.ID
}
