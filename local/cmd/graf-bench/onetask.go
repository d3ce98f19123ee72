package main

import (
	"context"
	"fmt"
	"time"
)

// benchOneTask measures one task at a time: from the POST until the task's event
// stream (server-sent events, through the gateway) says that it has ended.
func benchOneTask(name string, body func(int) string, wanted *target) func(context.Context, *environment) error {
	return func(ctx context.Context, e *environment) error {
		c := newClient(e.platform.URL(), e.platform.Token())
		defer c.close()
		const first = 20 // they open connections
		latencies := make([]time.Duration, 0, e.options.single)
		for i := range first + e.options.single {
			began := time.Now()
			task, err := c.submit(ctx, body(i))
			if err != nil {
				return err
			}
			status, err := c.awaitEnd(ctx, task)
			if err != nil {
				return err
			}
			if status != "succeeded" {
				return fmt.Errorf("task %s is %s", task, status)
			}
			if i >= first {
				latencies = append(latencies, time.Since(began))
			}
		}
		e.report.addLatencies(name, latencies, wanted, nil)
		return e.reportStages(ctx, name)
	}
}

// reportStages tells where the time of a task goes, by the times that the
// database stamped on its steps.
func (e *environment) reportStages(ctx context.Context, name string) error {
	var stages [4]float64
	err := e.database.QueryRow(ctx, `
		SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM launching_at - created_at)) * 1000,
		       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - launching_at)) * 1000,
		       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finalizing_at - started_at)) * 1000,
		       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - finalizing_at)) * 1000
		FROM codex_tasks`).Scan(&stages[0], &stages[1], &stages[2], &stages[3])
	if err != nil {
		return err
	}
	for i, stage := range []string{"submitted to launching", "launching to running", "running to finalizing", "finalizing to finished"} {
		e.report.add(name+": "+stage+", p50", "ms", stages[i], nil)
	}
	return nil
}
