;; SPDX-License-Identifier: MIT
;; churn.scm - old vectors get young values all the time; every one is verified.
;; Run by the tests and measurements with guile-3.0: churn.scm [ROUNDS]
(define rounds
  (let ((args (cdr (command-line))))
    (if (null? args) 40 (string->number (car args)))))
(define slots 60000)

;; A value that tells by itself whether it is whole.
(define (make-value id)
  (list id (number->string id) (vector id (* id 3))))
(define (whole? v id)
  (and (pair? v)
       (= (car v) id)
       (string=? (cadr v) (number->string id))
       (= (vector-ref (caddr v) 1) (* id 3))))

(define table (make-vector slots #f))
(define ids (make-vector slots 0))
(define seed 1)
(define (next-random n)
  (set! seed (modulo (+ (* seed 1103515245) 12345) 2147483648))
  (modulo (quotient seed 7) n))

(define (put! at id)
  (vector-set! table at (make-value id))
  (vector-set! ids at id))

(do ((i 0 (+ i 1))) ((= i slots)) (put! i i))
(do ((round 1 (+ round 1))) ((> round rounds))
  (do ((i 0 (+ i 1))) ((= i 20000))
    (put! (next-random slots) (+ i (* round 100000)))))
(do ((i 0 (+ i 1))) ((= i slots))
  (unless (whole? (vector-ref table i) (vector-ref ids i))
    (format (current-error-port) "churn: value ~a was lost~%" i)
    (exit 1)))
(format #t "churn: ~a values are whole~%" slots)
