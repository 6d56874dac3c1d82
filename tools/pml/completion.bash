# SPDX-License-Identifier: MIT
# Completion of the pml command for bash; installed as
# share/bash-completion/completions/pml.

_pml_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_pml_backends()
{
	pml info 2>/dev/null | awk '$2 == "yes" && NR > 5 { print $1 }'
}

_pml()
{
	local current=${COMP_WORDS[COMP_CWORD]}
	local before=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]}
	local track="-p -i -n -o --pid --interval --epochs --output --backend --json --summary --help"
	local i

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_pml_words "info dirty wss detach --help --version" "$current"
		return
	fi
	# What follows -- is a command line of its own.
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then
			if ((i == COMP_CWORD - 1)); then
				mapfile -t COMPREPLY < <(compgen -c -- "$current")
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$current")
			fi
			return
		fi
	done
	case $before in
	-p | --pid)
		_pml_words "$(cd /proc && echo [0-9]*)" "$current"
		return
		;;
	--backend)
		_pml_words "$(_pml_backends)" "$current"
		return
		;;
	--estimator)
		_pml_words "referenced written pml sampling committed zballoond mpa exclusive-cache geiger sampling-present" "$current"
		return
		;;
	--cgroup)
		mapfile -t COMPREPLY < <(compgen -d -- "$current")
		return
		;;
	-o | --output | --plot)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
		;;
	-i | --interval | -n | --epochs | --window | --threshold | --memory | --samples | --floor)
		return
		;;
	esac
	case $command in
	info) _pml_words "--json --help" "$current" ;;
	dirty) _pml_words "$track --ranges --by-mapping --adaptive --adaptive=verify" "$current" ;;
	wss) _pml_words "$track --range --cgroup --system --estimator --window --threshold --memory --samples --apply --active --floor --plot" "$current" ;;
	detach) _pml_words "-p --pid --help" "$current" ;;
	esac
}

complete -F _pml pml
