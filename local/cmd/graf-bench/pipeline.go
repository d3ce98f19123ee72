package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// benchPipeline measures no-op tasks, submitted through the gateway by 16
// clients, from the first request until the last is finished: every stage, the
// Broker, a Job and its process (`true`) each, recall and embedding included.
// The end is read from the database's clock, which is the machine's.
func benchPipeline(name string, body func(int) string, wanted *target) func(context.Context, *environment) error {
	return func(ctx context.Context, e *environment) error {
		c := newClient(e.platform.URL(), e.platform.Token())
		defer c.close()
		if _, err := c.submitAll(ctx, warmUp, body); err != nil {
			return err
		}
		if err := e.awaitAll(ctx); err != nil {
			return err
		}
		before, err := processorTimes()
		if err != nil {
			return err
		}
		began := time.Now()
		latencies, err := c.submitAll(ctx, e.options.tasks, func(i int) string { return body(i + warmUp) })
		if err != nil {
			return err
		}
		if err := e.awaitAll(ctx); err != nil {
			return err
		}
		after, err := processorTimes()
		if err != nil {
			return err
		}
		return e.reportPipeline(ctx, name, began, latencies, processorUse(before, after), wanted)
	}
}

// samePrompt is embedded once; what differs from it each time measures the model, too.
func samePrompt(int) string { return minimal }

func distinctPrompt(i int) string {
	return fmt.Sprintf(`{"prompt": "Do nothing, number %d.", "agent": {"kind": "command", "command": ["true"]}}`, i)
}

// awaitAll waits until every task has ended.
func (e *environment) awaitAll(ctx context.Context) error {
	return waitFor(ctx, "all tasks to end", func() (bool, error) {
		var left bool
		err := e.database.QueryRow(ctx, `SELECT EXISTS (SELECT FROM codex_tasks
			WHERE status IN ('queued', 'launching', 'running', 'finalizing'))`).Scan(&left)
		return !left, err
	})
}

func (e *environment) reportPipeline(ctx context.Context, name string, began time.Time, latencies []time.Duration,
	use map[string]time.Duration, wanted *target,
) error {
	var ended time.Time
	var failed, textOnly, recalling int
	err := e.database.QueryRow(ctx, `SELECT
		(SELECT max(finished_at) FROM codex_tasks),
		(SELECT count(*) FROM codex_tasks WHERE status <> 'succeeded'),
		(SELECT count(*) FROM codex_task_attempts WHERE recall_mode <> 'hybrid'),
		(SELECT count(DISTINCT task_id) FROM codex_task_recalls)`).Scan(&ended, &failed, &textOnly, &recalling)
	if err != nil {
		return err
	}
	if failed > 0 {
		return errors.New("not every task succeeded, see the log (-keep)")
	}
	tasks := float64(len(latencies))
	e.report.add(name, "tasks per second", tasks/ended.Sub(began).Seconds(), wanted)
	e.report.addLatencies(name+": submission", latencies, nil, nil)
	e.report.add(name+": launched without the prompt's vector", "tasks", float64(textOnly), nil)
	e.report.add(name+": given memories", "tasks", float64(recalling), nil)
	e.report.addProcessorUse(name, "ms per task", use, len(latencies))
	return nil
}
