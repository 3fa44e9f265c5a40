module github.com/gitseal/gitseal/test/sandbox

go 1.26.0
