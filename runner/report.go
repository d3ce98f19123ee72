package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/graf-run/graf/runner/agent"
	"github.com/graf-run/graf/runner/process"
	"github.com/graf-run/graf/runner/spool"
)

// speaksForItself says whether the agent is one that tells Graf of its start and end,
// by its own reports or by its exit code and log.
func (r *runner) speaksForItself() bool { return r.config.Agent == "command" }

// exitNotStarted is a shell's exit code for a program that cannot be started.
const exitNotStarted = 127

// end reports how the run ended, and returns the exit code.
func (r *runner) end(end process.End, failure *agent.Failure) int {
	r.state.Lock()
	content := map[string]any{}
	maps.Copy(content, r.state.outcome)
	if r.state.session != "" {
		content["session"] = r.state.session
	}
	summary := r.state.summary
	r.state.Unlock()
	ownWord := r.speaksForItself() && end.Stopped == nil && (failure == nil || end.Code != 0)
	switch {
	case ownWord:
	case failure == nil:
		content["summary"] = summary
		r.report("completed", content)
	default:
		content["reason"] = failure.Reason
		r.reportFailure(content, failure)
	}
	if failure != nil && end.Code == 0 {
		return 1
	}
	return end.Code
}

// reportFailure tells Graf of what class the failure is. That it was stopped, Graf
// knows.
func (r *runner) reportFailure(content map[string]any, failure *agent.Failure) {
	told := map[string]any{"class": failure.Class}
	if failure.RetryAfter > 0 {
		told["retryAfterSeconds"] = int(math.Ceil(failure.RetryAfter.Seconds()))
	}
	if failure.Class != agent.ClassCancelled {
		content["failure"] = told
	}
	r.report("failed", content)
}

// maxContent bounds an event's content as JSON: Graf takes 256 KiB.
const maxContent = 250 << 10

// report puts an event into the spool. Texts in it are masked. What finds no room
// is counted: the log says so at the end. The run's end is kept all the same.
func (r *runner) report(kind string, content any) { r.add(kind, content, nil) }

// add puts an event with a snapshot, or none, into the spool.
func (r *runner) add(kind string, content, snapshot any) {
	e := spool.Event{
		ID: fmt.Sprintf("%s%d", r.prefix, r.number.Add(1)), Type: kind, Snapshot: snapshot, OccurredAt: time.Now().UTC(),
	}
	if content != nil {
		encoded, err := json.Marshal(r.masked(content))
		if err != nil || len(encoded) > maxContent {
			encoded = fmt.Appendf(nil, `{"leftOutBytes":%d}`, len(encoded))
		}
		e.Content = json.RawMessage(encoded)
	}
	err := r.spool.Add(e)
	switch {
	case err == nil:
	case kind == "completed" || kind == "failed":
		r.last = &e
	case r.dropped.Add(1) == 1:
		r.log.Warn("events are lost", "error", err)
	}
}

func (r *runner) masked(content any) any {
	fields, isMap := content.(map[string]any)
	if !isMap {
		return content
	}
	for name, value := range fields {
		if text, isText := value.(string); isText {
			fields[name] = r.mask.Text(text)
		}
	}
	return fields
}

// beat reports now and then that the agent lives, until the function it returns is
// called.
func (r *runner) beat() (stop func()) {
	if r.config.Heartbeat <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		ticker := time.NewTicker(r.config.Heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				r.report("heartbeat", nil)
			}
		}
	})
	return func() { close(done); work.Wait() }
}

// flush sends what is left in the spool, as long as there is time, and says what
// could not be sent. When half of the time is over, the end of the run and what was used do
// not wait for the log any more.
func (r *runner) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.config.Flush)
	defer cancel()
	half, cancelHalf := context.WithTimeout(ctx, r.config.Flush/2)
	defer cancelHalf()
	err := r.sender.Drain(half, r.spool)
	late := err // why something is passed over
	if half.Err() != nil && ctx.Err() == nil && err != nil {
		r.sender.Hurry = true
		err = r.sender.Drain(ctx, r.spool)
	}
	waiting := r.spool.Waiting() + r.sender.PassedOver
	if r.last != nil {
		if err == nil {
			err = r.sender.Send(ctx, *r.last)
		}
		if err != nil {
			waiting++
		}
	}
	if err != nil || waiting > 0 {
		if err == nil {
			err = late
		}
		r.log.Error("events could not be sent", "events", waiting, "error", err)
	}
	if dropped, skipped := r.dropped.Load(), r.sender.Skipped; dropped > 0 || skipped > 0 {
		r.log.Warn("events were lost", "no room", dropped, "not understood by Graf", skipped)
	}
}
