package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Types of the chain's events, as e2e/cmd/trivial has them.
const (
	firstType  = "dev.graf.measure.first"
	secondType = "dev.graf.measure.second"
)

const (
	// senders is how many send events, or submit tasks, at a time.
	senders = 16
	// eventsPerChain pass the Broker for each that is sent: it, and the answer.
	eventsPerChain = 2
	// singles are events that are sent one after the other.
	singles = 100
)

// Names of figures that others refer to.
const (
	brokerRate = "Broker, in the bare chain"
	chainRate  = "bare chain"
)

// chain is Broker → first → Broker → second.
type chain struct {
	e              *environment
	broker, second string
	subject        string
	sent           atomic.Int64
}

// measureChain measures the latency of the chain with one event at a time, and
// its rate with as many as 16 senders get accepted.
func measureChain(ctx context.Context, e *environment) error {
	c := &chain{e: e}
	broker, err := e.awaitReady(ctx, brokers, own, "default")
	if err != nil {
		return err
	}
	c.broker, err = address(broker)
	if err != nil {
		return err
	}
	if c.second, err = e.functionURL(ctx, own, second); err != nil {
		return err
	}
	for round := range e.options.rounds {
		note("chain, round %d of %d", round+1, e.options.rounds)
		c.begin(fmt.Sprintf("warm-%d", round))
		if err := c.run(ctx, 50); err != nil {
			return err
		}
		if err := c.measureLatency(ctx, round); err != nil {
			return err
		}
		c.begin(fmt.Sprintf("rate-%d", round))
		began := time.Now()
		if err := c.run(ctx, e.options.events); err != nil {
			return err
		}
		rate := float64(e.options.events) / time.Since(began).Seconds()
		e.report.add(chainRate, "chains per second", rate, nil)
		e.report.add(brokerRate, "events per second", rate*eventsPerChain, nil)
	}
	return nil
}

func (c *chain) begin(subject string) {
	c.subject = subject
	c.sent.Store(0)
}

func (c *chain) measureLatency(ctx context.Context, round int) error {
	c.begin(fmt.Sprintf("latency-%d", round))
	latencies := make([]time.Duration, singles)
	for i := range latencies {
		began := time.Now()
		if err := c.send(ctx); err != nil {
			return err
		}
		if err := c.await(ctx, i+1); err != nil {
			return err
		}
		latencies[i] = time.Since(began)
	}
	c.e.report.addPercentiles("bare chain, one event at a time", latencies)
	return nil
}

// run sends count events and waits until all have arrived at the chain's end.
func (c *chain) run(ctx context.Context, count int) error {
	err := atOnce(ctx, count, func(ctx context.Context, _ int) error { return c.send(ctx) })
	if err != nil {
		return err
	}
	return c.await(ctx, count)
}

// send sends one event to the Broker.
func (c *chain) send(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.broker, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Type": firstType, "Ce-Source": "/graf-measure",
		"Ce-Subject": c.subject, "Ce-Id": strconv.FormatInt(c.sent.Add(1), 10),
	} {
		r.Header.Set(name, value)
	}
	answer, err := c.e.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the Broker answered %s", answer.Status)
	}
	return nil
}

// await asks the chain's end until it has counted as many.
func (c *chain) await(ctx context.Context, count int) error {
	query := url.Values{"subject": {c.subject}, "count": {strconv.Itoa(count)}}.Encode()
	last, began := 0, time.Now()
	for last < count {
		if time.Since(began) > patience {
			return fmt.Errorf("%d of %d events arrived within %v", last, count, patience)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.second+"/?"+query, nil)
		if err != nil {
			return err
		}
		answer, err := c.e.http.Do(r)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // it was only read
		if err != nil {
			return err
		}
		if last, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return fmt.Errorf("the chain's end answered %s: %s", answer.Status, text)
		}
	}
	return nil
}

// atOnce does something count times, by 16 at a time, until one fails.
func atOnce(ctx context.Context, count int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < count && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
