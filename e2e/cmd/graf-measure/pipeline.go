package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Names of figures that others refer to.
const (
	pipelineRate  = "pipeline"
	eventsPerTask = "events per task through the Broker"
)

// lookAgain is the pause between two looks at the database.
const lookAgain = 100 * time.Millisecond

// warmUp tasks, and bare Jobs, end before the rate is measured: functions and
// caches are then warm, and as much is under way as may be.
const warmUp = senders

// measurePipeline measures no-op tasks, all submitted at once, each a Job whose
// container ends at once. In turns with it, it measures bare Jobs of the same
// container: what the cluster can do without Graf.
func measurePipeline(ctx context.Context, e *environment) error {
	if err := e.countEvents(ctx); err != nil {
		return err
	}
	for round := range e.options.rounds {
		note("pipeline, round %d of %d", round+1, e.options.rounds)
		if err := e.measureJobs(ctx, round); err != nil {
			return err
		}
		stop := e.sampleMemory(ctx)
		err := e.measureTasks(ctx)
		if stopped := stop(); err == nil {
			err = stopped
		}
		if err != nil {
			return err
		}
	}
	e.compare()
	return nil
}

// compare holds the pipeline against what is its limit.
func (e *environment) compare() {
	r := e.report
	if allowed := r.median(brokerRate) / r.median(eventsPerTask); allowed > 0 {
		r.add("tasks that the Broker's event rate allows", "tasks per second", allowed, nil)
		r.add("pipeline, share of what the Broker's event rate allows", "%", 100*r.median(pipelineRate)/allowed, &target{atLeast: 80})
	}
	r.add("pipeline, share of the bare Jobs' rate", "%", 100*r.median(pipelineRate)/r.median(jobRate), nil)
}

func (e *environment) measureTasks(ctx context.Context) error {
	ids, err := e.runTasks(ctx, warmUp+e.options.tasks)
	if err != nil {
		return err
	}
	rows, err := e.database.Query(ctx, `SELECT finished_at FROM codex_tasks WHERE id = ANY($1) ORDER BY finished_at`, ids)
	if err != nil {
		return err
	}
	ends, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	if err != nil {
		return err
	}
	e.report.add(pipelineRate, "tasks per second", steadyRate(ends), nil)
	return e.reportStages(ctx, ids)
}

// steadyRate is how many ended in a second, from the end of the warm-up on. The
// ends are in their order.
func steadyRate(ends []time.Time) float64 {
	steady := ends[warmUp-1:]
	return float64(len(steady)-1) / steady[len(steady)-1].Sub(steady[0]).Seconds()
}

// runTasks submits tasks and waits until all have succeeded.
func (e *environment) runTasks(ctx context.Context, count int) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, count)
	err := atOnce(ctx, count, func(ctx context.Context, i int) error {
		var err error
		ids[i], err = e.submitTask(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, e.awaitTasks(ctx, ids)
}

func (e *environment) submitTask(ctx context.Context) (uuid.UUID, error) {
	body := fmt.Sprintf(`{"prompt": "Do nothing.", "maxAttempts": 1,
		"agent": {"kind": "command", "image": %q, "command": ["/app", "nothing"]}}`, e.options.image)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.submit+"/v1/codex/tasks", strings.NewReader(body))
	if err != nil {
		return uuid.Nil, err
	}
	r.Header.Set("Authorization", "Bearer "+e.token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := e.http.Do(r)
	if err != nil {
		return uuid.Nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return uuid.Nil, err
	}
	if answer.StatusCode != http.StatusCreated {
		return uuid.Nil, fmt.Errorf("submit: %s: %s", answer.Status, text)
	}
	var created struct{ TaskID uuid.UUID }
	return created.TaskID, json.Unmarshal(text, &created)
}

// awaitTasks asks the database until all tasks have ended, well.
func (e *environment) awaitTasks(ctx context.Context, ids []uuid.UUID) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		var left, failed int
		err := e.database.QueryRow(ctx, `SELECT count(*) FILTER (WHERE finished_at IS NULL),
			count(*) FILTER (WHERE finished_at IS NOT NULL AND status <> 'succeeded')
			FROM codex_tasks WHERE id = ANY($1)`, ids).Scan(&left, &failed)
		switch {
		case err != nil:
			note("asks again: %v", err) // a server may be restarted
			left = len(ids)
		case failed > 0:
			return fmt.Errorf("%d of %d tasks did not succeed", failed, len(ids))
		case left == 0:
			return nil
		}
		if err := await(ctx, tick); err != nil {
			return fmt.Errorf("%d of %d tasks are left: %w", left, len(ids), err)
		}
	}
}

// reportStages tells where the time of a task goes, by the times that the
// database stamped on its steps.
func (e *environment) reportStages(ctx context.Context, ids []uuid.UUID) error {
	var lengths [4]float64
	err := e.database.QueryRow(ctx, `
		SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM launching_at - created_at)),
		       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - launching_at)),
		       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finalizing_at - started_at)),
		       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - finalizing_at))
		FROM codex_tasks WHERE id = ANY($1)`, ids).Scan(&lengths[0], &lengths[1], &lengths[2], &lengths[3])
	if err != nil {
		return err
	}
	for i, stage := range []string{"submitted to launching (waits for a slot)", "launching to running", "running to finalizing (the Job)", "finalizing to finished"} {
		e.report.add("pipeline: "+stage+", p50", "s", lengths[i], nil)
	}
	return nil
}
