package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Types of the chain's two events.
const (
	firstType  = "dev.graf.measure.first"
	secondType = "dev.graf.measure.second"
)

// longestWait is less than func-go's write timeout of 30 s.
const longestWait = 20 * time.Second

// counter is the function. It counts the distinct events of each subject, since
// a Broker may deliver one twice.
type counter struct {
	mu      sync.Mutex
	seen    map[string]map[string]bool // event ids by subject
	changed chan struct{}              // closed when there is one more
}

func newCounter() *counter {
	return &counter{seen: map[string]map[string]bool{}, changed: make(chan struct{})}
}

// Handle serves events, and GET ?subject=S&count=N, which answers with the number
// of events about S as soon as it is N, or after 20 s.
func (c *counter) Handle(w http.ResponseWriter, r *http.Request) {
	subject := r.Header.Get("Ce-Subject")
	switch r.Header.Get("Ce-Type") {
	case firstType:
		for _, name := range []string{"Ce-Id", "Ce-Specversion", "Ce-Subject"} {
			w.Header().Set(name, r.Header.Get(name))
		}
		w.Header().Set("Ce-Type", secondType)
		w.Header().Set("Ce-Source", "/graf-measure/first")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}")) // the Broker asks again when it did not get it
	case secondType:
		c.add(subject, r.Header.Get("Ce-Id"))
		w.WriteHeader(http.StatusNoContent)
	default:
		wanted, _ := strconv.Atoi(r.FormValue("count"))
		_, _ = fmt.Fprintln(w, c.await(r, wanted)) // the client asks again, too
	}
}

func (c *counter) add(subject, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[subject] == nil {
		c.seen[subject] = map[string]bool{}
	}
	c.seen[subject][id] = true
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *counter) await(r *http.Request, wanted int) int {
	late := time.After(longestWait)
	for {
		c.mu.Lock()
		count, changed := len(c.seen[r.FormValue("subject")]), c.changed
		c.mu.Unlock()
		if count >= wanted {
			return count
		}
		select {
		case <-changed:
		case <-late:
			return count
		case <-r.Context().Done():
			return count
		}
	}
}
