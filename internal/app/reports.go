package app

import (
	"context"
	"strconv"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// ReportFilter chooses reports of a project. Zero values choose all.
type ReportFilter struct {
	Group string
	Ref   string // refs/heads/main, or main
	Type  string // TEST or CODE_COVERAGE
	Page
}

// ReportRuns lists the reports of a project in numbers, the newest first, those
// of builds that are gone too. next is "" at the end.
func (a *App) ReportRuns(ctx context.Context, project string, f ReportFilter) (page []ci.ReportRun, next string, err error) {
	if _, _, err := a.enter(ctx, viewBuild, project); err != nil {
		return nil, "", err
	}
	after, err := offset(f.After)
	if err != nil {
		return nil, "", err
	}
	page, last, err := a.cfg.Store.ReportRuns(ctx, store.ReportFilter{Project: project, Group: f.Group, Ref: f.Ref, Type: f.Type, Limit: f.Limit, After: after})
	if err == nil && last != 0 {
		next = strconv.FormatInt(last, 10)
	}
	return page, next, err
}

// TestFilter chooses tests of a project. Zero values choose all, by name.
type TestFilter struct {
	Group string
	Name  string // the whole name
	Order string // name, slowest, flaky or failing; the last two choose those that are
	Page
}

// Tests lists what is known of the tests of a project over their last runs. next
// is "" at the end.
func (a *App) Tests(ctx context.Context, project string, f TestFilter) (page []ci.TestRecord, next string, err error) {
	if _, _, err := a.enter(ctx, viewBuild, project); err != nil {
		return nil, "", err
	}
	after, err := offset(f.After)
	if err != nil {
		return nil, "", err
	}
	page, more, err := a.cfg.Store.Tests(ctx, store.TestFilter{Project: project, Group: f.Group, Name: f.Name, Order: store.TestOrder(f.Order), Limit: f.Limit, Offset: int(after)})
	if err == nil && more {
		next = strconv.FormatInt(after+int64(len(page)), 10)
	}
	for i := range page {
		if page[i].Recent == nil {
			page[i].Recent = []ci.TestResult{}
		}
	}
	return page, next, err
}

// offset reads where a list goes on.
func offset(after string) (int64, error) {
	if after == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0, &Invalid{Query: true, Fields: []Field{{"after", "is not one that this list gave: begin without it"}}}
	}
	return n, nil
}
