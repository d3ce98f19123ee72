package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// agent does one task.
type agent struct {
	options  options
	contract contract
	client   *client
}

// run does the task. If it fails it says why, to Graf too unless that is what failed.
func (a *agent) run(ctx context.Context) error {
	err := a.work(ctx)
	if err == nil || ctx.Err() != nil {
		return err // Graf itself knows of a deadline or a stop
	}
	if _, reportErr := a.client.post(ctx, event{EventType: "failed", Content: err.Error()}); reportErr != nil {
		return fmt.Errorf("%w (and this could not be reported: %w)", err, reportErr)
	}
	return err
}

func (a *agent) work(ctx context.Context) error {
	p, err := a.begin(ctx)
	if err != nil {
		return err
	}
	manifests, err := loadManifests(a.contract.manifestsDir)
	if err != nil {
		return err
	}
	target, err := find(manifests, a.options.kind, a.options.namespace, a.options.name)
	if err != nil {
		return err
	}
	value, err := a.choose(ctx, p, target)
	if err != nil {
		return err
	}
	before, err := target.change(a.options.field, value)
	if err != nil {
		return err
	}
	if err := a.progress(ctx, "Set %s of %s from %s to %s.", a.options.field, target, shown(before), value); err != nil {
		return err
	}
	if err := a.deliver(ctx, target, manifests); err != nil {
		return err
	}
	return a.complete(ctx, target, value)
}

// begin reads the prompt and says that the work begins.
func (a *agent) begin(ctx context.Context) (prompt, error) {
	text, err := os.ReadFile(a.contract.promptFile)
	if err != nil {
		return prompt{}, fmt.Errorf("read the prompt: %w", err)
	}
	p := parsePrompt(string(text))
	_, err = a.client.post(ctx, event{EventType: "started", Content: fmt.Sprintf(
		"Read the prompt: %d bytes, %d memories of earlier tasks.", len(text), len(p.memories))})
	return p, err
}

func (a *agent) progress(ctx context.Context, format string, arguments ...any) error {
	_, err := a.client.post(ctx, event{EventType: "progress", Content: fmt.Sprintf(format, arguments...)})
	return err
}

// choose decides on the value: as told, from memory, or wiser by a failure.
func (a *agent) choose(ctx context.Context, p prompt, target manifest) (string, error) {
	if a.options.heedFailure && p.failedAttempt != "" {
		if failed := p.tooSmall(); failed != nil && a.isLimit(failed) {
			return failed.request, a.progress(ctx,
				"The prompt says why attempt %s failed: limits.%s %s is below requests.%s %s. %s is the smallest limit that is valid.",
				p.failedAttempt, failed.resource, failed.limit, failed.resource, failed.request, failed.request)
		}
	}
	if !a.options.valueFromMemory {
		return a.options.value, nil
	}
	memories := p.memories
	if len(memories) == 0 {
		var err error
		if memories, err = a.client.recall(ctx, a.options.kind); err != nil {
			return "", err
		}
	}
	value, m, err := fromMemory(memories, target, a.options.field)
	if err != nil {
		return "", err
	}
	return value, a.progress(ctx, "Followed memory %s (score %.2f, %s, from the %s): %s of another resource is %s.",
		m.id, m.score, m.kind, m.from, a.options.field.afterList(), value)
}

// isLimit says whether the failed limit is the field that is to be set.
func (a *agent) isLimit(failed *tooSmall) bool {
	field := a.options.field.String()
	return strings.HasSuffix(field, "[name="+failed.container+"].resources.limits."+failed.resource)
}

// fromMemory is the first value that the memories, best first, name for the
// field and that is valid for this resource, with the memory that it is from.
func fromMemory(memories []recalled, target manifest, field path) (string, recalled, error) {
	var passed []string
	for _, m := range memories {
		for _, value := range taughtValues(m, field) {
			tried, err := target.copied()
			if err != nil {
				return "", recalled{}, err
			}
			if _, err := tried.change(field, value); err != nil {
				passed = append(passed, fmt.Sprintf("memory %s says %s, but %s", m.id, value, err))
				continue
			}
			return value, m, nil
		}
	}
	if len(passed) > 0 {
		return "", recalled{}, fmt.Errorf("no remembered value of %s fits: %s", field.afterList(), strings.Join(passed, "; "))
	}
	return "", recalled{}, fmt.Errorf("none of %d memories says a value of %s: give one with --set %s=VALUE",
		len(memories), field.afterList(), field)
}

// deliver uploads the changed resource and reports all of them as they are now.
func (a *agent) deliver(ctx context.Context, target manifest, all []manifest) error {
	data, err := yaml.Marshal(target)
	if err != nil {
		return err
	}
	name := strings.ToLower(a.options.kind) + "-" + a.options.name + ".yaml"
	if err := a.client.upload(ctx, name, "application/yaml", data); err != nil {
		return err
	}
	_, err = a.client.post(ctx, event{EventType: "snapshot", Snapshot: &snapshot{Type: "after", Manifests: all}})
	return err
}

// complete says what was done and learned. Both become a memory, so the summary
// names field and value in words that taughtValues finds again.
func (a *agent) complete(ctx context.Context, target manifest, value string) error {
	content := map[string]string{"summary": strings.TrimSpace(fmt.Sprintf("Set %s of %s to %s. %s",
		a.options.field, target, value, a.options.reason))}
	if a.options.lesson != "" {
		content["lesson"] = a.options.lesson
	}
	_, err := a.client.post(ctx, event{EventType: "completed", Content: content})
	return err
}

// shown writes a value for people.
func shown(value any) string {
	switch value := value.(type) {
	case nil:
		return "nothing"
	case string:
		return value
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return "?"
	}
	return string(encoded)
}
