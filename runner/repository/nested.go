package repository

import (
	"context"
	"slices"
	"strings"
)

// takeFiles stores the files of the working folder, and returns their tree. It warns
// of what is no part of it: what git cannot store, and repositories of their own, of
// which git would have the commit's hash instead of the files. Such a link without a
// submodule is left out, as clones with submodules fail by it; one that the agent has
// committed stays.
func (r *Repository) takeFiles(ctx context.Context, base string) (string, error) {
	tree, left, err := r.writeTree(ctx)
	if err != nil {
		return "", err
	}
	if left != nil {
		r.options.Warn("not all files are part of the work: " + left.Error())
	}
	links, err := r.newLinks(ctx, base, tree)
	if err != nil || len(links) == 0 {
		return tree, err
	}
	var committed []string
	if r.head != "" {
		if committed, err = r.newLinks(ctx, base, r.head); err != nil {
			return "", err
		}
	}
	var leave []string
	for _, link := range links {
		how := "left out"
		if slices.Contains(committed, link) {
			how = "committed as such"
		} else {
			leave = append(leave, link)
		}
		r.options.Warn(r.text(link) + " is a git repository of its own, and " + how + ": its files are no part of the work")
	}
	return r.withoutPaths(ctx, tree, leave)
}

// newLinks lists the links to other repositories' commits that one tree has and another
// has not, without those that .gitmodules names.
func (r *Repository) newLinks(ctx context.Context, from, to string) ([]string, error) {
	request := r.ours("diff-tree", "-r", "-z", "--raw", "--no-renames", "--diff-filter=AT", "--ignore-submodules=none", from, to)
	request.limit = 16 << 20 // some 100,000 files
	out, err := r.git.run(ctx, request)
	if err != nil {
		return nil, err
	}
	var links []string
	fields := strings.Split(out, "\x00") // :MODE MODE HASH HASH STATUS, and a path
	for i := 0; i+1 < len(fields); i += 2 {
		if modes := strings.Fields(fields[i]); len(modes) == 5 && modes[1] == "160000" {
			links = append(links, fields[i+1])
		}
	}
	if len(links) == 0 {
		return nil, nil
	}
	submodules := r.submodules(ctx, to)
	return slices.DeleteFunc(links, func(link string) bool { return slices.Contains(submodules, link) }), nil
}

// submodules lists the folders of those that a tree names.
func (r *Repository) submodules(ctx context.Context, tree string) []string {
	out, err := r.git.run(ctx, r.ours("config", "--blob", tree+":.gitmodules", "-z", "--get-regexp", `^submodule\..*\.path$`))
	if err != nil {
		return nil // there is no such file, or git cannot read it: nor can it elsewhere
	}
	var folders []string
	for setting := range strings.SplitSeq(out, "\x00") {
		if _, folder, found := strings.Cut(setting, "\n"); found {
			folders = append(folders, folder)
		}
	}
	return folders
}

// withoutPaths takes paths out of the index, and returns its tree.
func (r *Repository) withoutPaths(ctx context.Context, tree string, paths []string) (string, error) {
	if len(paths) == 0 {
		return tree, nil
	}
	request := r.ours("update-index", "--force-remove", "-z", "--stdin")
	request.input = strings.Join(paths, "\x00")
	if _, err := r.git.run(ctx, request); err != nil {
		return "", err
	}
	out, err := r.git.run(ctx, r.ours("write-tree"))
	return strings.TrimSpace(out), err
}
