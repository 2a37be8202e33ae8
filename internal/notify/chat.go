package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// chat sends a message to an incoming webhook of a chat. The secret is its address.
func (n *Notifier) chat(ctx context.Context, t ci.Target, secret string, d ci.Delivery) error {
	body, err := json.Marshal(message(t.Kind, d.Notice))
	if err != nil {
		return &Hopeless{fmt.Errorf("encode: %w", err)}
	}
	return n.post(ctx, secret, http.Header{"Content-Type": {"application/json"}}, body)
}

// message is a notice in the words of a chat. What comes from others, such as the
// subject of a commit, calls nobody and is no markup.
func message(kind ci.TargetKind, n ci.Notice) any {
	switch kind {
	case ci.TargetDiscord:
		return discord(n)
	case ci.TargetTeams:
		return teams(n)
	case ci.TargetMattermost:
		return attachments(n, markdown)
	}
	return attachments(n, slack)
}

type object = map[string]any

// attachments is what Slack understands, and Mattermost after it.
func attachments(n ci.Notice, escape func(string) string) object {
	fields := []object{}
	for _, d := range details(n) {
		fields = append(fields, object{"title": d.name, "value": escape(d.value), "short": len(d.value) < 40})
	}
	title := headline(n)
	return object{"attachments": []object{{
		"fallback": escape(title), "color": fmt.Sprintf("#%06x", color(n)), "title": escape(title), "title_link": n.URL, "fields": fields,
	}}}
}

func discord(n ci.Notice) object {
	fields := []object{}
	for _, d := range details(n) {
		fields = append(fields, object{"name": d.name, "value": markdown(d.value), "inline": len(d.value) < 40})
	}
	return object{
		"allowed_mentions": object{"parse": []string{}},
		"embeds":           []object{{"title": markdown(headline(n)), "url": n.URL, "color": color(n), "fields": fields}},
	}
}

// teams is a message with an adaptive card, which both the old connectors and the
// workflows of Teams take.
func teams(n ci.Notice) object {
	facts := []object{}
	for _, d := range details(n) {
		facts = append(facts, object{"title": d.name, "value": markdown(d.value)})
	}
	look := "Default"
	switch color(n) {
	case green:
		look = "Good"
	case red:
		look = "Attention"
	case amber:
		look = "Warning"
	}
	return object{"type": "message", "attachments": []object{{
		"contentType": "application/vnd.microsoft.card.adaptive",
		"content": object{
			"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
			"body": []object{
				{"type": "TextBlock", "text": markdown(headline(n)), "weight": "Bolder", "size": "Medium", "color": look, "wrap": true},
				{"type": "FactSet", "facts": facts},
			},
			"actions": []object{{"type": "Action.OpenUrl", "title": "Open the build", "url": n.URL}},
		},
	}}}
}

const (
	green = 0x2eb886
	red   = 0xd00000
	amber = 0xdaa038
	grey  = 0x808080
)

func color(n ci.Notice) int {
	switch n.Status {
	case ci.Succeeded:
		return green
	case ci.Failed, ci.Errored, ci.TimedOut:
		return red
	case ci.Unstable:
		return amber
	}
	return grey
}

// slack writes text so that Slack shows it as it is.
func slack(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// markdown writes text so that Markdown shows it as it is. The character behind @
// has no width: it keeps a name from being a mention.
func markdown(s string) string {
	var b strings.Builder
	for _, c := range s {
		if strings.ContainsRune("\\`*_{}[]()<>#+-.!|~", c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
		if c == '@' {
			b.WriteRune('\u200b')
		}
	}
	return b.String()
}
